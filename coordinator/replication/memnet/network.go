package memnet

import (
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Network connects endpoints by their addresses. Data sent over a link that is cut arrives when the link is healed, if
// the receiver has not closed the connection by then. A new connection needs links that work in both directions.
type Network struct {
	mu        sync.Mutex
	endpoints map[string]*Endpoint
	// cut has the links that don't work. Their channels are closed when they are healed.
	cut map[link]chan struct{}
}

// link is one direction between two endpoints.
type link struct{ from, to string }

// New returns a network without endpoints, all of whose links work.
func New() *Network {
	return &Network{endpoints: map[string]*Endpoint{}, cut: map[link]chan struct{}{}}
}

// Listen returns the endpoint of an address, which must not be in use.
func (n *Network) Listen(address string) (*Endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.endpoints[address] != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, syscall.EADDRINUSE)
	}
	e := &Endpoint{
		network: n, address: Address(address), incoming: make(chan net.Conn), closed: make(chan struct{}),
		connections: map[*connection]struct{}{},
	}
	n.endpoints[address] = e
	return e, nil
}

// Cut cuts the link in one direction.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[link{from, to}] == nil {
		n.cut[link{from, to}] = make(chan struct{})
	}
}

// Partition cuts the links between addresses of different groups, in both directions.
func (n *Network) Partition(groups ...[]string) {
	for i, group := range groups {
		for j, other := range groups {
			if i == j {
				continue
			}
			for _, from := range group {
				for _, to := range other {
					n.Cut(from, to)
				}
			}
		}
	}
}

// Heal makes all links work again.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, healed := range n.cut {
		close(healed)
	}
	clear(n.cut)
}

// healed returns a channel that is closed when the link works, or nil if it does.
func (n *Network) healed(from, to Address) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cut := n.cut[link{string(from), string(to)}]; cut != nil {
		return cut
	}
	return nil
}

// find returns the endpoint with the address, or nil.
func (n *Network) find(address string) *Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.endpoints[address]
}

// Address is the address of an endpoint.
type Address string

// Network names the network.
func (Address) Network() string  { return "memnet" }
func (a Address) String() string { return string(a) }

// Endpoint is where a node listens and dials. Closing it takes the node down: its connections end, and the address
// becomes free.
type Endpoint struct {
	network  *Network
	address  Address
	incoming chan net.Conn
	closed   chan struct{}

	mu          sync.Mutex
	down        bool
	connections map[*connection]struct{}
}

var _ net.Listener = (*Endpoint)(nil)

// Addr is the endpoint's address.
func (e *Endpoint) Addr() net.Addr { return e.address }

// Accept returns the next connection that another endpoint has dialled.
func (e *Endpoint) Accept() (net.Conn, error) {
	select {
	case c := <-e.incoming:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Dial connects to an address.
func (e *Endpoint) Dial(address string, timeout time.Duration) (net.Conn, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for _, direction := range []link{{string(e.address), address}, {address, string(e.address)}} {
		select {
		case <-orClosed(e.network.healed(Address(direction.from), Address(direction.to))):
		case <-deadline.C:
			return nil, fmt.Errorf("dial %s: %w", address, os.ErrDeadlineExceeded)
		case <-e.closed:
			return nil, net.ErrClosed
		}
	}
	other := e.network.find(address)
	if other == nil {
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	}
	near, far := newConnections(e, other)
	select {
	case other.incoming <- far:
		return near, nil
	case <-other.closed:
	case <-e.closed:
	case <-deadline.C:
	}
	near.Close()
	far.Close()
	return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
}

// Close takes the endpoint down.
func (e *Endpoint) Close() error {
	e.network.mu.Lock()
	if e.network.endpoints[string(e.address)] == e {
		delete(e.network.endpoints, string(e.address))
	}
	e.network.mu.Unlock()
	e.mu.Lock()
	if e.down {
		e.mu.Unlock()
		return nil
	}
	e.down = true
	close(e.closed)
	connections := e.connections
	e.connections = nil
	e.mu.Unlock()
	for c := range connections {
		c.Close()
	}
	return nil
}

// connection is one end of a connection.
type connection struct {
	net.Conn
	endpoint *Endpoint
	remote   Address
	once     sync.Once
	closed   chan struct{}
}

// newConnections returns both ends of a new connection. Two goroutines carry what is sent until both ends are closed.
func newConnections(near, far *Endpoint) (*connection, *connection) {
	nearEnd, nearWire := net.Pipe()
	farEnd, farWire := net.Pipe()
	a := &connection{Conn: nearEnd, endpoint: near, remote: far.address, closed: make(chan struct{})}
	b := &connection{Conn: farEnd, endpoint: far, remote: near.address, closed: make(chan struct{})}
	near.keep(a)
	far.keep(b)
	go carry(near.network, near.address, far.address, nearWire, farWire, b.closed)
	go carry(near.network, far.address, near.address, farWire, nearWire, a.closed)
	return a, b
}

// keep remembers a connection while it is open.
func (e *Endpoint) keep(c *connection) {
	e.mu.Lock()
	down := e.down
	if !down {
		e.connections[c] = struct{}{}
	}
	e.mu.Unlock()
	if down {
		c.Close()
	}
}

// carry forwards what is sent, and the sender's close, whenever the link works, until the receiver has closed.
func carry(n *Network, from, to Address, source, sink net.Conn, received <-chan struct{}) {
	defer sink.Close()
	buffer := make([]byte, 64<<10)
	for {
		size, err := source.Read(buffer)
		for healed := n.healed(from, to); healed != nil; healed = n.healed(from, to) {
			select {
			case <-healed:
			case <-received:
				return
			}
		}
		if err != nil {
			return
		}
		if _, err := sink.Write(buffer[:size]); err != nil {
			return
		}
	}
}

func (c *connection) LocalAddr() net.Addr  { return c.endpoint.address }
func (c *connection) RemoteAddr() net.Addr { return c.remote }

// Close ends the connection. The other end learns of it when the link works.
func (c *connection) Close() error {
	c.once.Do(func() {
		c.endpoint.mu.Lock()
		delete(c.endpoint.connections, c)
		c.endpoint.mu.Unlock()
		close(c.closed)
		c.Conn.Close()
	})
	return nil
}

// orClosed returns channel, or a closed one if it is nil.
func orClosed(channel <-chan struct{}) <-chan struct{} {
	if channel != nil {
		return channel
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}
