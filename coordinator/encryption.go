package coordinator

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"trellis/coordinator/access"
)

const (
	// handshakeRecord is the first byte of a connection over TLS, from either end, and alertRecord of an answer that says
	// why there can be none: the types of TLS records in RFC 8446, section 5.1.
	handshakeRecord = 0x16
	alertRecord     = 0x15
	// alertDrain is how long a connection stays open after an alert, so that the alert arrives.
	alertDrain = time.Second
	// certificateInterval is how often the node looks at its own certificate, and expiresSoon how long before it expires the
	// log says so, once in each expiryInterval.
	certificateInterval = 10 * time.Second
	expiresSoon         = 21 * 24 * time.Hour
	expiryInterval      = 24 * time.Hour
	// refusalInterval is how often a refused connection of a supposed node is logged at most.
	refusalInterval = 10 * time.Second
)

// wrongEncryption is a TLS alert: fatal, protocol version. It is the answer to who speaks TLS where there is none, and to
// who speaks none where there is TLS. Both tell by it that this is no outage.
var wrongEncryption = []byte{alertRecord, 3, 1, 0, 2, 2, 70}

// errNotANode means that someone spoke the nodes' protocol to a node that refuses to.
var errNotANode = errors.New("not a node of this cluster")

// secure makes the connection one over TLS if the port has that. Otherwise it returns the connection, with nothing read.
func (p *port) secure(conn net.Conn) (net.Conn, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, fmt.Errorf("it said nothing: %w", err)
	}
	unread := &unreadConn{conn, *bytes.NewReader(first)}
	switch speaksTLS := first[0] == handshakeRecord; {
	case p.certificates == nil && speaksTLS:
		alert(conn)
		return nil, errors.New("it speaks TLS, which this coordinator does not")
	case p.certificates == nil:
		return unread, nil
	case !speaksTLS:
		if p.plainAnswer != "" {
			answer(conn, p.plainAnswer)
			return nil, errors.New("it does not speak TLS, which this coordinator does")
		}
		alert(conn)
		return nil, errors.New("it does not speak TLS, which this coordinator does")
	}
	secured := tls.Server(unread, p.certificates.Server(p.protocols...))
	if err := secured.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return p.certificates.Guard(secured), nil
}

// alert says that the other end got the encryption wrong, and waits for a moment until it has heard that: a connection that
// is closed with unread data may lose what was written last.
func alert(conn net.Conn) { answer(conn, string(wrongEncryption)) }

// answer is alert with another text.
func answer(conn net.Conn, text string) {
	if conn.SetDeadline(time.Now().Add(alertDrain)) != nil {
		return
	}
	if _, err := io.WriteString(conn, text); err == nil {
		_, _ = io.CopyN(io.Discard, conn, 1<<16)
	}
}

// stateOf returns how a connection is encrypted, nil if it is not.
func stateOf(conn net.Conn) *tls.ConnectionState {
	secured, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil
	}
	state := secured.ConnectionState()
	return &state
}

// dialSecurely returns a dialer whose connections are encrypted.
func dialSecurely(dial dialer, certificates *access.Certificates) dialer {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		secured, err := certificates.Client(ctx, conn, address)
		if err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
}

// admitNode returns why this node speaks to no other, or nil. A coordinator alone needs none of the protocol in which
// other nodes could change its log. It waits until the log is open, or until closed is closed.
func (c *Coordinator) admitNode(closed <-chan struct{}) error {
	select {
	case <-c.logOpened:
	case <-closed:
		return net.ErrClosed
	}
	if c.replicated == nil || c.replicated.Alone() {
		return fmt.Errorf("%w: this coordinator has no other nodes", errNotANode)
	}
	return nil
}

// watchCertificate logs that the node's certificate has been replaced, or expires soon, until ctx is done.
func (c *Coordinator) watchCertificate(ctx context.Context) {
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	expires := c.certificates.Expires()
	var warned time.Time
	for {
		current, err := c.certificates.Current(ctx)
		if err == nil && !current.Equal(expires) {
			c.logger.Info("this node has another certificate", "expires", current)
			expires, warned = current, time.Time{}
		}
		if left := time.Until(expires); left < expiresSoon && time.Since(warned) > expiryInterval {
			c.logger.Warn("this node's certificate expires soon: replace its file", "expires", expires,
				"file", c.config.TLS.Certificate)
			warned = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// openCertificates opens the node's certificates. Those of a node of a cluster must name it as a node.
func openCertificates(config Config) (*access.Certificates, error) {
	certificates, err := access.Open(config.TLS)
	if err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	host, _, err := net.SplitHostPort(config.Advertise)
	if err == nil {
		err = certificates.CheckHost(host)
	}
	if err != nil {
		certificates.Close()
		return nil, fmt.Errorf("coordinator: others are told to reach this node at %s, for which the certificate %s is not: %w",
			config.Advertise, config.TLS.Certificate, err)
	}
	if certificates.Principal.Anonymous() && (len(config.Join) > 0 || config.Wait) {
		certificates.Close()
		return nil, fmt.Errorf("coordinator: the certificate %s has no name trellis://node/NAME, which a node of a "+
			"cluster needs", config.TLS.Certificate)
	}
	return certificates, nil
}

// warnOfRefusal logs that a connection of the nodes' protocol was refused. It logs few of many.
func (p *port) warnOfRefusal(peer net.Addr, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.warned) < refusalInterval {
		p.unlogged++
		return
	}
	p.logger.Warn("refused a connection to the log", "peer", peer, "error", why, "others", p.unlogged)
	p.warned, p.unlogged = time.Now(), 0
}
