package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what is wrong with a connection to a coordinator that is there.
type Kind int

const (
	// NotEncrypted means that the coordinator does not use TLS, and the caller does.
	NotEncrypted Kind = iota + 1
	// Encrypted means that the coordinator uses TLS, and the caller does not.
	Encrypted
	// UnknownAuthority means that the coordinator's certificate is signed by none of the authorities.
	UnknownAuthority
	// Expired means that the coordinator's certificate has expired or is not valid yet.
	Expired
	// WrongName means that the coordinator's certificate is for other hosts.
	WrongName
	// WrongCertificate means that the coordinator's certificate is wrong otherwise, for example that of a worker.
	WrongCertificate
	// Refused means that the coordinator refuses the caller's certificate.
	Refused
)

// Mistake is the error of connections that will fail again until someone changes something.
type Mistake struct {
	// Node is the address.
	Node string
	Kind Kind
	// Err is what the TLS library says.
	Err error
}

func (m *Mistake) Error() string {
	return fmt.Sprintf("connect securely to %s: %v", m.Node, m.Err)
}

func (m *Mistake) Unwrap() error { return m.Err }

// alertRecord is the first byte of a TLS alert, with which a coordinator with TLS answers to who speaks none.
const alertRecord = 0x15

// mistake says whether an error of a handshake, or of the first answer after it, is a mistake, and which.
func mistake(err error) (Kind, bool) {
	var (
		authority   x509.UnknownAuthorityError
		host        x509.HostnameError
		invalid     x509.CertificateInvalidError
		unverified  *tls.CertificateVerificationError
		notTLS      tls.RecordHeaderError
		operational *net.OpError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired, true
	case errors.As(err, &authority):
		return UnknownAuthority, true
	case errors.As(err, &host):
		return WrongName, true
	case errors.As(err, &unverified), errors.As(err, &invalid):
		return WrongCertificate, true
	case errors.As(err, &notTLS):
		return NotEncrypted, true
	case errors.As(err, &operational) && operational.Op == "remote error":
		// crypto/tls does not export the types of alerts that it receives.
		if operational.Err.Error() == "tls: protocol version not supported" {
			return NotEncrypted, true
		}
		return Refused, true
	}
	return 0, false
}

// attempts are the last attempts to connect to each of a coordinator's nodes.
type attempts struct {
	// nodes is how many there are.
	nodes int
	// found receives a mistake when the last attempts at all nodes were mistakes.
	found chan *Mistake

	mu       sync.Mutex
	mistakes map[string]*Mistake
}

func newAttempts(nodes int) *attempts {
	return &attempts{nodes: nodes, found: make(chan *Mistake, 1), mistakes: map[string]*Mistake{}}
}

// failed notes that an attempt has failed, and returns the error: a Mistake if it is one.
func (a *attempts) failed(node string, err error) error {
	kind, ok := mistake(err)
	if !ok {
		a.succeeded(node)
		return err
	}
	return a.note(&Mistake{Node: node, Kind: kind, Err: err})
}

func (a *attempts) note(mistake *Mistake) *Mistake {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mistakes[mistake.Node] = mistake
	if len(a.mistakes) >= a.nodes {
		select {
		case a.found <- mistake:
		default:
		}
	}
	return mistake
}

// succeeded notes that a node has answered, or is not there.
func (a *attempts) succeeded(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mistakes, node)
}

// watchedConn looks at the first answer on a connection.
type watchedConn struct {
	net.Conn
	name      string
	attempts  *attempts
	encrypted bool
	answered  atomic.Bool
}

func (c *watchedConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	if n == 0 && err == nil || c.answered.Swap(true) {
		return n, err
	}
	switch {
	case !c.encrypted && n > 0 && data[0] == alertRecord:
		return 0, c.attempts.note(&Mistake{Node: c.name, Kind: Encrypted, Err: errors.New("the coordinator uses TLS")})
	case n > 0:
		c.attempts.succeeded(c.name)
	case c.encrypted && !errors.Is(err, io.EOF):
		return n, c.attempts.failed(c.name, err)
	}
	return n, err
}

// Write looks for the answer if the other end has closed the connection before it has read anything.
func (c *watchedConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	if err != nil && c.encrypted && !c.answered.Load() {
		if c.SetReadDeadline(time.Now().Add(time.Second)) == nil {
			if _, why := c.Read(make([]byte, 1)); errors.As(why, new(*Mistake)) {
				return n, why
			}
		}
	}
	return n, err
}
