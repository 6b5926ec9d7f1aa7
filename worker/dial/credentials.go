package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/tls/certprovider"
	"google.golang.org/grpc/credentials/tls/certprovider/pemfile"
)

// reloadInterval is how often the files are looked at for changes.
const reloadInterval = time.Second

// Credentials say how a coordinator is known and how it knows who calls. The zero value is right for a coordinator on
// loopback without encryption, and for one elsewhere whose certificate a public authority has signed.
type Credentials struct {
	// Authority is a file with the certificates of the authorities that may sign that of the coordinator, as PEM.
	// Default: those of the system.
	Authority string
	// Certificate and Key are files with the caller's own certificate and its key, as PEM and in the same folder.
	Certificate, Key string
	// Token is a token that says who calls, and TokenFile a file with one, which is read again for each call. The file
	// goes first.
	Token, TokenFile string
	// Insecure allows connections without encryption to other machines. It does nothing if a file is given.
	Insecure bool
}

// Validate returns an error that says what is missing.
func (c Credentials) Validate() error {
	switch {
	case (c.Certificate == "") != (c.Key == ""):
		return errors.New("a certificate needs its key, and a key its certificate")
	case filepath.Dir(c.Certificate) != filepath.Dir(c.Key):
		// They change together.
		return errors.New("the certificate and its key must be in the same folder")
	}
	if c.Authority != "" {
		content, err := os.ReadFile(c.Authority)
		if err != nil {
			return fmt.Errorf("read the authority's certificate: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(content) {
			return fmt.Errorf("read the authority's certificate: %s has no certificate in PEM form", c.Authority)
		}
	}
	if _, err := c.ReadToken(); err != nil {
		return err
	}
	if c.Certificate != "" {
		if _, err := tls.LoadX509KeyPair(c.Certificate, c.Key); err != nil {
			return fmt.Errorf("read the certificate %s and its key: %w", c.Certificate, err)
		}
	}
	return nil
}

// Encrypts says whether connections to the nodes are encrypted: if a file is given, or else if a node is on another
// machine, unless Insecure.
func (c Credentials) Encrypts(nodes []string) bool {
	if c.Authority != "" || c.Certificate != "" {
		return true
	}
	if c.Insecure {
		return false
	}
	for _, node := range nodes {
		if !isLoopback(node) {
			return true
		}
	}
	return false
}

// isLoopback says whether an address is certainly of this machine. Names are not looked up: whoever answers for them
// would decide about the encryption.
func isLoopback(address string) bool {
	if isTarget(address) {
		target, err := url.Parse(address)
		if err != nil || strings.HasPrefix(target.Scheme, "unix") {
			return err == nil
		}
		address = strings.TrimPrefix(target.Path, "/")
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" || host == "localhost" || ip != nil && ip.IsLoopback()
}

// transport returns the credentials for connections to the nodes, which tell attempts about their mistakes.
func (c Credentials) transport(nodes []string, attempts *attempts) (*transport, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	t := &transport{TransportCredentials: insecure.NewCredentials(), attempts: attempts}
	if !c.Encrypts(nodes) {
		return t, nil
	}
	t.TransportCredentials, t.encrypts = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13}), true
	if c.Authority == "" && c.Certificate == "" {
		return t, nil
	}
	var err error
	t.provider, err = pemfile.NewProvider(pemfile.Options{
		RootFile: c.Authority, CertFile: c.Certificate, KeyFile: c.Key, RefreshDuration: reloadInterval,
	})
	if err != nil {
		return nil, fmt.Errorf("watch the certificates: %w", err)
	}
	return t, nil
}

// transport makes connections secure with certificates that may change.
type transport struct {
	credentials.TransportCredentials
	encrypts bool
	// provider has the certificates. nil: there are none, and the system's authorities are asked.
	provider certprovider.Provider
	attempts *attempts
}

// ClientHandshake makes a connection to the node with the name secure.
func (t *transport) ClientHandshake(
	ctx context.Context, name string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	if located, ok := conn.(*locatedConn); ok {
		name, conn = located.address, located.Conn
	}
	watched := &watchedConn{Conn: conn, name: name, attempts: t.attempts}
	if !t.encrypts {
		return t.TransportCredentials.ClientHandshake(ctx, name, watched)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if t.provider != nil {
		material, err := t.provider.KeyMaterial(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("read the certificates: %w", err)
		}
		config.RootCAs = material.Roots
		if len(material.Certs) > 0 {
			// Without this, a certificate of another authority is not sent, and the coordinator hears of nobody.
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &material.Certs[0], nil
			}
		}
	}
	secured, info, err := credentials.NewTLS(config).ClientHandshake(ctx, name, conn)
	if err != nil {
		return nil, nil, t.attempts.failed(name, err)
	}
	// Whether the other end accepts the certificate is known only when it answers.
	watched.Conn, watched.encrypted = secured, true
	return watched, info, nil
}

// Clone returns one that uses the same certificates.
func (t *transport) Clone() credentials.TransportCredentials {
	clone := *t
	clone.TransportCredentials = t.TransportCredentials.Clone()
	return &clone
}

// close stops looking for changed files.
func (t *transport) close() {
	if t.provider != nil {
		t.provider.Close()
	}
}
