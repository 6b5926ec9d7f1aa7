package connection

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	// maxReserve and reserveShare bound the descriptors that connections leave to the log, its snapshots, artifacts and
	// connections to other nodes: the smaller of the two, in descriptors and as a share of the process's limit.
	maxReserve   = 1024
	reserveShare = 4
	// hostShare says that one host may have at most this share of all connections, where the process's limit lowers
	// them.
	hostShare = 2
	// maxNodeConnections bounds the connections of other nodes that are above a limit.
	maxNodeConnections = 64
	// refusingShare is the share of the reserve for connections above a limit that are open just to be told so, and
	// refusingHostShare is one host's share of them. Others are closed at once.
	refusingShare     = 8
	refusingHostShare = 4
	// refusalTime is how long a connection above a limit is open, to be told so.
	refusalTime = 2 * time.Second
	// refusalLinger is how long it stays open once a call was refused, so that the client reads why.
	refusalLinger = 50 * time.Millisecond
	// refusalLogInterval is the shortest time between two log entries about refused connections.
	refusalLogInterval = 10 * time.Second
)

// Limits bound a listener's connections.
type Limits struct {
	// All, Host and Principal are how many connections there may be, in all, from one host and of one principal.
	All, Host, Principal int
	// Descriptors is how many descriptors the whole process may have open when a connection is accepted. Zero: any
	// number.
	Descriptors int
	// Refusing is how many connections above a limit are open just to be told so.
	Refusing int
}

// Within returns the limits for a process that may have so many descriptors open: those given, or lower ones.
func (l Limits) Within(descriptors uint64) Limits {
	reserve := maxReserve
	if descriptors < math.MaxInt32 {
		reserve = min(reserve, int(descriptors)/reserveShare)
		l.Descriptors = int(descriptors) - reserve
		l.All = min(l.All, l.Descriptors)
		l.Host = min(l.Host, max(1, l.Descriptors/hostShare))
	}
	l.Refusing = reserve / refusingShare
	return l
}

// MaxDescriptors is how many descriptors this process may have open. Go's runtime has raised the limit as far as it
// could.
func MaxDescriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return limit.Cur
}

// Listener is a listener that bounds the connections that are open at the same time, in all and from one host, and
// leaves descriptors to the rest of the process. So no number of connections keeps the log from opening its files.
//
// A connection above a limit is either closed at once or, if there are few of them, open for a moment: its calls are
// refused with the limit's name, by Refused.
type Listener struct {
	net.Listener
	limits Limits
	unread *Unread
	logger *slog.Logger

	mu   sync.Mutex
	open map[string]int
	all  int
	// claimed counts the connections by the principals that use them.
	claimed map[string]int
	// nodes counts the connections of other nodes above a limit. They are among all.
	nodes int
	// refusing counts the connections above a limit that are open, by host.
	refusing    map[string]int
	allRefusing int
	// refused counts the connections above a limit since logged, when the log last said so.
	refused uint64
	logged  time.Time
}

// Listen bounds the connections that the listener accepts, and counts in unread what their clients have not read.
func Listen(
	listener net.Listener, limits Limits, unread *Unread, logger *slog.Logger,
) *Listener {
	return &Listener{
		Listener: listener, limits: limits, unread: unread, logger: logger,
		open: map[string]int{}, claimed: map[string]int{}, refusing: map[string]int{},
	}
}

// Accept returns the next connection that is not closed at once.
func (c *Listener) Accept() (net.Conn, error) { return c.accept(c.Listener) }

// Another returns another listener, whose connections count as this one's do.
func (c *Listener) Another(listener net.Listener) net.Listener { return another{listener, c} }

// another is a listener whose connections count as those of the first.
type another struct {
	net.Listener
	first *Listener
}

// Accept returns the next connection that is not closed at once.
func (a another) Accept() (net.Conn, error) { return a.first.accept(a.Listener) }

func (c *Listener) accept(from net.Listener) (net.Conn, error) {
	for {
		conn, err := from.Accept()
		if err != nil {
			return nil, err
		}
		if counted := c.count(conn); counted != nil {
			return counted, nil
		}
		conn.Close()
	}
}

// count admits a connection, or returns one that will be refused, or nil if it must be closed at once.
func (c *Listener) count(conn net.Conn) net.Conn {
	host := HostOf(conn.RemoteAddr())
	used := descriptorsIn(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	var refusal error
	switch {
	case c.open[host] >= c.limits.Host:
		refusal = status.Errorf(codes.ResourceExhausted, "this coordinator already has %d connections from %s, and "+
			"another would exceed the limit connections-address=%d: close some, or retry later", c.open[host], host,
			c.limits.Host)
	case c.all >= c.limits.All:
		refusal = status.Errorf(codes.ResourceExhausted, "this coordinator already has %d connections, and another "+
			"would exceed the limit connections=%d: retry later", c.all, c.limits.All)
	case c.limits.Descriptors > 0 && used > c.limits.Descriptors:
		refusal = status.Errorf(codes.ResourceExhausted, "this coordinator already has %d files and connections open, "+
			"and keeps the rest of its limit (ulimit -n) for its log: retry later", used)
	}
	if refusal == nil {
		c.open[host]++
		c.all++
		counted := &Conn{Conn: conn, from: c, host: host}
		c.unread.open(counted)
		return counted
	}
	c.refused++
	if now := time.Now(); now.Sub(c.logged) >= refusalLogInterval {
		c.logger.Warn("refused connections", "connections", c.refused, "last_from", host, "open", c.all,
			"error", status.Convert(refusal).Message())
		c.refused, c.logged = 0, now
	}
	if c.allRefusing >= c.limits.Refusing || c.refusing[host] > c.limits.Refusing/refusingHostShare {
		return nil
	}
	c.refusing[host]++
	c.allRefusing++
	refused := &Conn{Conn: conn, from: c, host: host, refusal: refusal}
	refused.expiry = time.AfterFunc(refusalTime, func() { refused.Close() })
	return refused
}

// release forgets a connection that is closed.
func (c *Listener) release(conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for who := range conn.claimed {
		decrease(c.claimed, who)
	}
	switch {
	case conn.refusal != nil:
		c.allRefusing--
		decrease(c.refusing, conn.host)
	default:
		c.all--
		decrease(c.open, conn.host)
		if conn.node {
			c.nodes--
		}
	}
	conn.closed = true
	if conn.unknown != nil {
		conn.unknown.Stop()
	}
	c.unread.closed(conn)
}

func decrease(counts map[string]int, key string) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// Conn is one that is counted until it is closed.
type Conn struct {
	net.Conn
	from *Listener
	host string
	once sync.Once

	// from.mu guards the fields below. refusal is what calls are answered, and expiry closes the connection. Both are
	// nil if it is within the limits.
	refusal error
	expiry  *time.Timer
	// told says that a call was refused. Later ones don't keep the connection open.
	told bool
	// node says that it is a node's, above a limit.
	node bool
	// claimed has the principals that use the connection.
	claimed map[string]bool
	closed  bool
	// unknown closes the connection unless a caller becomes known. It is nil once known is set.
	unknown *time.Timer
	known   atomic.Bool
}

// Close closes the connection.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.expiry != nil {
			c.expiry.Stop()
		}
		c.from.release(c)
	})
	return err
}

// CloseWrite says that nothing more is written, where the connection below has a way to say so.
func (c *Conn) CloseWrite() error { return CloseWrite(c.Conn) }

// CloseWrite tells the peer that nothing more is written, if the connection has a way to say so. An HTTP server does before it
// closes a connection on which not all was read: otherwise the peer may lose what was written last.
func CloseWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// RemoteAddr is the peer's address, by which calls find their connection: see Of.
func (c *Conn) RemoteAddr() net.Addr {
	return peerAddr{Addr: c.Conn.RemoteAddr(), connection: c}
}

// peerAddr is the address of a peer, and the connection from there.
type peerAddr struct {
	net.Addr
	connection *Conn
}

// Of is the connection from the peer, or nil if its connections are not counted.
func Of(peer net.Addr) *Conn {
	from, _ := peer.(peerAddr)
	return from.connection
}

// Refused is what a call on the connection is answered if it is above a limit. It closes soon after.
func (c *Conn) Refused() error {
	if c == nil {
		return nil
	}
	c.from.mu.Lock()
	defer c.from.mu.Unlock()
	if c.refusal != nil && !c.told && c.expiry.Stop() {
		c.told = true
		c.expiry.Reset(refusalLinger)
	}
	return c.refusal
}

// KeepNode keeps the connection even if it is above a limit, because it is another node's: without them, a flood of
// clients would end the leader's term.
func (c *Conn) KeepNode() {
	if c == nil {
		return
	}
	c.from.mu.Lock()
	defer c.from.mu.Unlock()
	if c.refusal == nil || c.closed || c.from.nodes >= maxNodeConnections || !c.expiry.Stop() {
		return
	}
	c.from.allRefusing--
	decrease(c.from.refusing, c.host)
	c.refusal, c.node = nil, true
	c.from.nodes++
	c.from.all++
	c.from.open[c.host]++
}

// Expect closes the connection unless one of its callers is known in time: who has no credential must not keep others
// from connecting.
func (c *Conn) Expect(patience time.Duration) {
	if c == nil {
		return
	}
	c.from.mu.Lock()
	defer c.from.mu.Unlock()
	if !c.closed && !c.known.Load() {
		c.unknown = time.AfterFunc(patience, func() {
			if !c.known.Load() {
				c.Close()
			}
		})
	}
}

// Accept says that a caller of the connection is known.
func (c *Conn) Accept() {
	if c == nil || c.known.Swap(true) {
		return
	}
	c.from.mu.Lock()
	defer c.from.mu.Unlock()
	if c.unknown != nil {
		c.unknown.Stop()
		c.unknown = nil
	}
}

// Claim counts the connection as the principal's.
func (c *Conn) Claim(principal string) error {
	if c == nil {
		return nil
	}
	c.from.mu.Lock()
	defer c.from.mu.Unlock()
	if c.closed || c.claimed[principal] {
		return nil
	}
	if held, limit := c.from.claimed[principal], c.from.limits.Principal; held >= limit {
		return status.Errorf(codes.ResourceExhausted, "you already have %d connections, and another would exceed the "+
			"limit connections-each=%d: close some, or retry later", held, limit)
	}
	if c.claimed == nil {
		c.claimed = map[string]bool{}
	}
	c.claimed[principal] = true
	c.from.claimed[principal]++
	return nil
}

// HostOf is what the limits of one host count by: the IPv4 address, or the network that an IPv6 host has to itself.
func HostOf(address net.Addr) string {
	if address == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() || ip.IsLoopback() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

// descriptorsIn is how many descriptors this process has open at least. The kernel gives a connection the lowest free
// number, so all numbers below are taken. It returns 0 for a connection without a descriptor.
func descriptorsIn(conn net.Conn) int {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return 0
	}
	used := 0
	if err := control.Control(func(number uintptr) { used = int(number) + 1 }); err != nil {
		return 0
	}
	return used
}

// PeerOf is the address that a call comes from, or nil.
func PeerOf(ctx context.Context) net.Addr {
	if from, ok := peer.FromContext(ctx); ok {
		return from.Addr
	}
	return nil
}
