package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"
)

// guard ends open connections whose certificates are no longer good: those that expire, and those of authorities that are
// no longer trusted.
type guard struct {
	mu    sync.Mutex
	roots *x509.CertPool
	open  map[*guardedConn]bool
}

// guardedConn is an open connection whose other end has a certificate.
type guardedConn struct {
	*tls.Conn
	guard *guard
	// usage is what the certificate has to be for.
	usage  x509.ExtKeyUsage
	expiry *time.Timer
}

// Guard returns a connection that others have opened. It ends when the certificate of the other end expires, or when its
// authority is no longer among those in the file. The handshake must be over.
func (c *Certificates) Guard(conn *tls.Conn) net.Conn {
	return c.guard.add(conn, x509.ExtKeyUsageClientAuth)
}

func (g *guard) add(conn *tls.Conn, usage x509.ExtKeyUsage) net.Conn {
	state := conn.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return conn
	}
	guarded := &guardedConn{Conn: conn, guard: g, usage: usage}
	g.mu.Lock()
	defer g.mu.Unlock()
	guarded.expiry = time.AfterFunc(time.Until(state.PeerCertificates[0].NotAfter), func() { guarded.Close() })
	g.open[guarded] = true
	if guarded.verify(g.roots) != nil {
		// The authorities have changed since the handshake began.
		go guarded.Close()
	}
	return guarded
}

// watch looks whether the authorities have changed, until ctx is done.
func (c *Certificates) watch(ctx context.Context) {
	ticker := time.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if material, err := c.provider.KeyMaterial(ctx); err == nil {
			c.guard.trust(material.Roots)
		}
	}
}

// trust ends the connections that are not of these authorities.
func (g *guard) trust(roots *x509.CertPool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if roots.Equal(g.roots) {
		return
	}
	g.roots = roots
	for conn := range g.open {
		if conn.verify(roots) != nil {
			// It may wait until the other end has read that it ends.
			go conn.Close()
		}
	}
}

func (c *guardedConn) verify(roots *x509.CertPool) error {
	certificates := c.ConnectionState().PeerCertificates
	between := x509.NewCertPool()
	for _, certificate := range certificates[1:] {
		between.AddCert(certificate)
	}
	_, err := certificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{c.usage},
	})
	return err
}

// Close closes the connection.
func (c *guardedConn) Close() error {
	c.guard.mu.Lock()
	c.expiry.Stop()
	delete(c.guard.open, c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}
