package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/credentials/tls/certprovider"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"

	trellisv1 "trellis/proto/trellis/v1"
)

// reloadInterval is how often a node looks whether its files have changed.
const reloadInterval = time.Second

// Files are a node's certificate and what it needs to check others': PEM files that may change at any time.
type Files struct {
	// Authority has the certificates of the authorities that sign those of principals.
	Authority string
	// Certificate is the node's own, followed by those between it and its authority. Key is its private key, in the same
	// folder.
	Certificate, Key string
}

// Given says whether there are files. A node without files has no encryption and asks nobody who they are.
func (f Files) Given() bool { return f != Files{} }

// Validate returns an error unless all files are given or none.
func (f Files) Validate() error {
	switch {
	case f.Given() && (f.Authority == "" || f.Certificate == "" || f.Key == ""):
		return errors.New("TLS requires an authority, a certificate and a key")
	case filepath.Dir(f.Certificate) != filepath.Dir(f.Key):
		// They change together.
		return errors.New("the certificate and its key must be in the same folder")
	}
	return nil
}

// check reads the files once, for errors that say what is wrong. It returns the certificate.
func (f Files) check() (*x509.Certificate, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(f.Authority)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("read the authority's certificate: %s has no certificate in PEM form", f.Authority)
	}
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s and its key: %w", f.Certificate, err)
	}
	now := time.Now()
	if now.Before(pair.Leaf.NotBefore) || now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate %s is valid from %v to %v, and not now", f.Certificate,
			pair.Leaf.NotBefore, pair.Leaf.NotAfter)
	}
	return pair.Leaf, nil
}

// Certificates are a node's, as they are in their files.
type Certificates struct {
	provider certprovider.Provider
	// Principal is who the certificate was made for when it was opened. It is the zero Principal if the certificate has no
	// URI name, as those of public authorities don't: such a node can have no peers.
	Principal Principal
	leaf      *x509.Certificate
	guard     *guard
	unwatch   context.CancelFunc
}

// Expires is until when the certificate was valid when it was opened.
func (c *Certificates) Expires() time.Time { return c.leaf.NotAfter }

// Current is until when the certificate is valid that is used now: files that have changed have been read.
func (c *Certificates) Current(ctx context.Context) (expires time.Time, err error) {
	material, err := c.provider.KeyMaterial(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the certificates: %w", err)
	}
	return material.Certs[0].Leaf.NotAfter, nil
}

// CheckHost returns an error unless the certificate, as it was when it was opened, is for a host.
func (c *Certificates) CheckHost(host string) error { return c.leaf.VerifyHostname(host) }

// Open reads the files, and again whenever they change, until Close. Files that are damaged or don't belong together are
// left alone: what was read before stays valid.
func Open(files Files) (*Certificates, error) {
	certificate, err := files.check()
	if err != nil {
		return nil, err
	}
	c := &Certificates{leaf: certificate, guard: &guard{open: map[*guardedConn]bool{}}}
	if len(certificate.URIs) > 0 {
		if c.Principal, err = FromCertificate(certificate); err != nil {
			return nil, fmt.Errorf("use %s as a node's: %w", files.Certificate, err)
		}
		if c.Principal.Role != trellisv1.Role_ROLE_NODE {
			return nil, fmt.Errorf("use %s as a node's: its name is %v", files.Certificate, c.Principal.URI())
		}
	}
	c.provider, err = pemfile.NewProvider(pemfile.Options{
		RootFile: files.Authority, CertFile: files.Certificate, KeyFile: files.Key, RefreshDuration: reloadInterval,
	})
	if err != nil {
		return nil, fmt.Errorf("watch the certificates: %w", err)
	}
	ctx, unwatch := context.WithCancel(context.Background())
	material, err := c.provider.KeyMaterial(ctx)
	if err != nil {
		unwatch()
		c.provider.Close()
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	c.guard.roots, c.unwatch = material.Roots, unwatch
	go c.watch(ctx)
	return c, nil
}

// Close stops looking for changes.
func (c *Certificates) Close() {
	c.unwatch()
	c.provider.Close()
}

// Server returns the configuration of connections that others open and that speak one of the protocols: TLS 1.3 with a
// certificate of theirs if they have one, which is verified. Who has none has to send a token.
func (c *Certificates) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			material, err := c.provider.KeyMaterial(hello.Context())
			if err != nil {
				return nil, fmt.Errorf("read the certificates: %w", err)
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: protocols,
				Certificates: material.Certs, ClientCAs: material.Roots, ClientAuth: tls.VerifyClientCertIfGiven,
				// A resumed session would outlive a change of the authorities.
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

// Client makes a connection to another node a TLS connection. The other end must have a node's certificate for the host in
// the address.
func (c *Certificates) Client(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	material, err := c.provider.KeyMaterial(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	secure := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host, NextProtos: []string{"h2"},
		RootCAs: material.Roots,
		// It is sent even if the other node's authority is another, so that the other node can say so.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &material.Certs[0], nil
		},
		VerifyConnection: func(state tls.ConnectionState) error { return CheckNode(state) },
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("secure the connection to node %s: %w", address, err)
	}
	return c.guard.add(secure, x509.ExtKeyUsageServerAuth), nil
}

// CheckNode returns an error unless the other end of a connection has the verified certificate of a node.
func CheckNode(state tls.ConnectionState) error {
	if len(state.VerifiedChains) == 0 {
		return errors.New("it has no certificate, and only nodes speak to nodes")
	}
	principal, err := FromCertificate(state.PeerCertificates[0])
	if err != nil {
		return err
	}
	if principal.Role != trellisv1.Role_ROLE_NODE {
		return fmt.Errorf("its certificate is that of %v, and only nodes speak to nodes", principal.URI())
	}
	return nil
}
