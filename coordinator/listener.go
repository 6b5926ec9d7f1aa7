package coordinator

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"trellis/coordinator/access"
	"trellis/coordinator/connection"
)

const (
	// clientPreface is the beginning of a connection that speaks HTTP/2, as gRPC does: the first line of the preface in
	// RFC 9113, section 3.4.
	clientPreface = "PRI * HTTP/2.0\r\n"
	// nodePreface is the beginning of a connection that carries the log from node to node, in version 2 of that
	// protocol. It is as long as clientPreface, so that one read tells them apart.
	nodePreface = "TRELLIS NODE 2\r\n"
	// prefaceTimeout is how long a connection may take to say what it is.
	prefaceTimeout = 10 * time.Second
	// acceptRetry and acceptRetryMax bound the pause after a connection could not be accepted, for example because the
	// process has too many files open.
	acceptRetry    = 5 * time.Millisecond
	acceptRetryMax = time.Second
)

// port splits one listener in two: API calls and connections of other nodes. It tells them apart by their first bytes.
// Encryption lies below: the first bytes are those within TLS.
type port struct {
	listener net.Listener
	dial     dialer
	logger   *slog.Logger
	// certificates encrypt all connections that others open. nil: none is encrypted.
	certificates *access.Certificates
	// admit returns why connections of other nodes are not accepted now, or nil. It may wait until closed is closed.
	admit func(closed <-chan struct{}) error
	// protocols are what connections within TLS may speak: see RFC 7301.
	protocols []string
	// plainAnswer is what clients are told that don't speak TLS where they should. Empty: they get a TLS alert.
	plainAnswer string
	// isHTTP says that all connections are for calls over HTTP.
	isHTTP bool
	// strangerTime is how long a connection for calls may be open until one of its callers is known. Zero: forever.
	strangerTime time.Duration
	// calls and nodes are the two sides. Closing one closes only that side; close closes everything.
	calls, nodes *side

	// waiting has the connections that have not sent a preface yet.
	mu      sync.Mutex
	waiting map[net.Conn]bool
	closed  bool
	// warned is when a refused connection was last logged, and unlogged how many have been refused since.
	warned   time.Time
	unlogged int
	all      sync.WaitGroup
}

// dialer opens a connection to another node's port.
type dialer func(ctx context.Context, address string) (net.Conn, error)

// dialTCP is the normal dialer.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

func newPort(listener net.Listener, dial dialer, logger *slog.Logger) *port {
	p := &port{
		listener: listener, dial: dial, logger: logger, waiting: map[net.Conn]bool{},
		admit: func(<-chan struct{}) error { return nil }, protocols: []string{"h2"},
	}
	p.calls = newSide(listener.Addr())
	p.nodes = newSide(listener.Addr())
	return p
}

// serve accepts connections until the port is closed. It then returns nil.
func (p *port) serve() error {
	pause := acceptRetry
	for {
		conn, err := p.listener.Accept()
		if err == nil {
			pause = acceptRetry
			p.greet(conn)
			continue
		}
		if p.isClosed() {
			return nil
		}
		var network net.Error
		//lint:ignore SA1019 net/http and gRPC ask the same: there is no other way to tell.
		if !errors.As(err, &network) || !network.Temporary() {
			return fmt.Errorf("accept connections on %v: %w", p.listener.Addr(), err)
		}
		p.logger.Warn("could not accept a connection; will retry", "error", err, "after", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-p.calls.closed:
			timer.Stop()
		}
		pause = min(2*pause, acceptRetryMax)
	}
}

// greet finds out what a connection is, and hands it to its side, in the background.
func (p *port) greet(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return
	}
	p.waiting[conn] = true
	p.all.Go(func() {
		to, conn, err := p.sort(conn)
		if err == nil && to == p.nodes {
			err = p.admit(p.nodes.closed)
		}
		switch {
		case errors.Is(err, errNotANode):
			p.warnOfRefusal(conn.RemoteAddr(), err)
		case err != nil:
			p.logger.Debug("closed a connection", "peer", conn.RemoteAddr(), "error", err)
		default:
			counted := connection.Of(conn.RemoteAddr())
			if to == p.nodes || isNode(conn) {
				counted.KeepNode()
			} else if p.strangerTime > 0 {
				counted.Expect(p.strangerTime)
			}
			to.hand(conn)
			return
		}
		conn.Close()
	})
}

// sort finds out what a connection is, by its preface. Clients expect to find theirs unread.
func (p *port) sort(conn net.Conn) (*side, net.Conn, error) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, conn)
	}()
	if err := conn.SetDeadline(time.Now().Add(prefaceTimeout)); err != nil {
		return nil, conn, err
	}
	secured, err := p.secure(conn)
	if err != nil {
		return nil, conn, err
	}
	if p.isHTTP {
		return p.calls, secured, conn.SetDeadline(time.Time{})
	}
	preface := make([]byte, len(clientPreface))
	if n, err := io.ReadFull(secured, preface); err != nil {
		return nil, secured, fmt.Errorf("it said %q: %w", preface[:n], err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, secured, err
	}
	switch string(preface) {
	case clientPreface:
		return p.calls, &sortedConn{unreadConn: unreadConn{secured, *bytes.NewReader(preface)}}, nil
	case nodePreface:
		if state := stateOf(secured); state != nil {
			if err := access.CheckNode(*state); err != nil {
				return nil, secured, fmt.Errorf("%w: %w", errNotANode, err)
			}
		}
		return p.nodes, secured, nil
	default:
		return nil, secured, fmt.Errorf("it begins with %q, which is neither gRPC nor another node of this version", preface)
	}
}

// isNode says whether a connection for calls is a node's, by its certificate.
func isNode(conn net.Conn) bool {
	secured, ok := conn.(access.Secured)
	if !ok {
		return false
	}
	state := secured.TLS()
	return state != nil && access.CheckNode(*state) == nil
}

func (p *port) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// close closes the listener and all connections that neither side has accepted, and waits for them.
func (p *port) close() {
	p.mu.Lock()
	p.closed = true
	for conn := range p.waiting {
		conn.Close()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.calls.Close()
	p.nodes.Close()
	p.all.Wait()
}

// network is the nodes' side of a port, as a replication.Network.
type network struct {
	*side
	dial dialer
}

// Dial connects to another node's port.
func (n network) Dial(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := n.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if err = conn.SetWriteDeadline(time.Now().Add(timeout)); err == nil {
		_, err = conn.Write([]byte(nodePreface))
	}
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet node %s: %w", address, err)
	}
	return conn, nil
}

// side is a listener whose connections the port accepts.
type side struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

var _ net.Listener = (*side)(nil)

func newSide(addr net.Addr) *side {
	return &side{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// hand waits until the connection is accepted. It closes it if the side is closed first.
func (s *side) hand(conn net.Conn) {
	select {
	case s.conns <- conn:
	case <-s.closed:
		conn.Close()
	}
}

// Accept returns the next connection, or net.ErrClosed.
func (s *side) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. The port stays open.
func (s *side) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr is the port's address.
func (s *side) Addr() net.Addr { return s.addr }

// sortedConn is a connection for calls, which knows how it is encrypted.
type sortedConn struct {
	unreadConn
	frames connection.Frames
}

var _ access.Secured = (*sortedConn)(nil)

// TLS is the state after the handshake, nil without encryption.
func (c *sortedConn) TLS() *tls.ConnectionState { return stateOf(c.Conn) }

// Write counts what clients have taken of the responses. gRPC calls it from one goroutine at a time.
func (c *sortedConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	connection.Of(c.RemoteAddr()).Written(c.frames.Data(data[:n]))
	return n, err
}

// unreadConn is a connection that first returns what has already been read from it.
type unreadConn struct {
	net.Conn
	unread bytes.Reader
}

// CloseWrite says that nothing more is written.
func (c *unreadConn) CloseWrite() error { return connection.CloseWrite(c.Conn) }

func (c *unreadConn) Read(into []byte) (int, error) {
	if c.unread.Len() > 0 {
		return c.unread.Read(into)
	}
	return c.Conn.Read(into)
}

// innerConn is a connection in memory to the gRPC server, on behalf of an HTTP connection: it comes from the same peer, with
// the same certificate.
type innerConn struct {
	net.Conn
	outer net.Conn
}

var _ access.Secured = innerConn{}

// RemoteAddr is the address of the HTTP connection's peer.
func (c innerConn) RemoteAddr() net.Addr { return c.outer.RemoteAddr() }

// TLS is the state of the HTTP connection, nil without encryption.
func (c innerConn) TLS() *tls.ConnectionState { return stateOf(c.outer) }

// speaksHTTP has a port accept HTTP instead of gRPC and nodes.
func (p *port) speaksHTTP() {
	p.isHTTP, p.protocols = true, []string{"h2", "http/1.1"}
	p.plainAnswer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" +
		"This coordinator speaks HTTPS: use https:// in the address.\n"
}
