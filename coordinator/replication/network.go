package replication

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stream is the layer of connections under raft's transport. It can be severed: a node whose disk has failed must fall
// silent immediately, or its heartbeats would keep the others from electing a working leader.
type stream struct {
	network Network
	address address

	mu sync.Mutex
	// severed is closed when there must be no more connections.
	severed     chan struct{}
	connections map[net.Conn]struct{}
}

var _ raft.StreamLayer = (*stream)(nil)

// address is a node's address as a net.Addr.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func newStream(network Network, own string) *stream {
	return &stream{
		network: network, address: address(own), severed: make(chan struct{}),
		connections: map[net.Conn]struct{}{},
	}
}

// Addr is where other nodes reach this one.
func (s *stream) Addr() net.Addr { return s.address }

// Accept returns the next connection from another node.
func (s *stream) Accept() (net.Conn, error) {
	connection, err := s.network.Accept()
	if err != nil {
		return nil, err
	}
	return s.keep(connection)
}

// Dial connects to another node. It returns early when the stream is severed, so that a node that stops does not wait
// for an unreachable one.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	type dialled struct {
		net.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		connection, err := s.network.Dial(string(address), timeout)
		if err == nil {
			connection, err = s.keep(connection)
		}
		done <- dialled{connection, err}
	}()
	select {
	case d := <-done:
		return d.Conn, d.err
	case <-s.severed:
		return nil, net.ErrClosed
	}
}

// isSevered says whether the stream is severed.
func (s *stream) isSevered() bool {
	select {
	case <-s.severed:
		return true
	default:
		return false
	}
}

// keep remembers the connection until it is closed, so that sever can close it.
func (s *stream) keep(connection net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isSevered() {
		connection.Close()
		return nil, net.ErrClosed
	}
	kept := &keptConnection{Conn: connection, stream: s}
	s.connections[kept] = struct{}{}
	return kept, nil
}

// sever closes all connections, including future ones.
func (s *stream) sever() {
	s.mu.Lock()
	if !s.isSevered() {
		close(s.severed)
	}
	connections := s.connections
	s.connections = map[net.Conn]struct{}{}
	s.mu.Unlock()
	for connection := range connections {
		connection.Close()
	}
}

// Close severs the stream, and stops accepting connections.
func (s *stream) Close() error {
	s.sever()
	return s.network.Close()
}

// keptConnection is a connection that its stream remembers while it is open.
type keptConnection struct {
	net.Conn
	stream *stream
}

func (c *keptConnection) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.connections, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// noNetwork is the Network of a node that stays alone.
type noNetwork struct {
	closed chan struct{}
	once   sync.Once
}

func newNoNetwork() *noNetwork { return &noNetwork{closed: make(chan struct{})} }

func (n *noNetwork) Accept() (net.Conn, error) {
	<-n.closed
	return nil, net.ErrClosed
}

func (n *noNetwork) Dial(string, time.Duration) (net.Conn, error) { return nil, net.ErrClosed }
func (n *noNetwork) Addr() net.Addr                               { return address("") }

func (n *noNetwork) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}
