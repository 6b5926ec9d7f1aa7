package coordinator

import (
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// peerCalls is how many calls a connection to another node carries at the same time: fewer than that node accepts,
	// see maxStreams.
	peerCalls = maxStreams * 3 / 4
	// peerPings and peerPingTimeout bound how long this node waits for another that has vanished silently.
	peerPings       = 10 * time.Second
	peerPingTimeout = 5 * time.Second
	// peerConnectTimeout is how long connecting to another node may take.
	peerConnectTimeout = 2 * time.Second
	peerRetryMax       = time.Second
	// peerIdle is how long a connection to another node is kept without calls.
	peerIdle = time.Minute
)

var errPeersClosed = errors.New("this coordinator is shutting down")

// peers keeps the connections to other nodes over which calls are forwarded: as many to each node as its calls need.
// The dialer encrypts them.
type peers struct {
	dial dialer
	// options are added to those of each connection.
	options []grpc.DialOption

	mu     sync.Mutex
	conns  map[string][]*peerConn
	closed bool
}

type peerConn struct {
	*grpc.ClientConn
	calls int
	// idle closes the connection if there are no calls. It is nil until there are none for the first time.
	idle *time.Timer
}

func newPeers(dial dialer, options []grpc.DialOption) *peers {
	return &peers{dial: dial, options: options, conns: map[string][]*peerConn{}}
}

// connect returns a connection to the node for one call. It creates connections when they are first needed.
func (p *peers) connect(address string) (conn *grpc.ClientConn, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errPeersClosed
	}
	var chosen *peerConn
	for _, open := range p.conns[address] {
		if open.calls < peerCalls {
			chosen = open
			break
		}
	}
	if chosen == nil {
		made, err := newPeerConn(address, p.dial, p.options)
		if err != nil {
			return nil, nil, err
		}
		chosen = &peerConn{ClientConn: made}
		p.conns[address] = append(p.conns[address], chosen)
	}
	chosen.calls++
	return chosen.ClientConn, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if chosen.calls--; chosen.calls > 0 || p.closed {
			return
		}
		if chosen.idle == nil {
			chosen.idle = time.AfterFunc(peerIdle, func() { p.drop(address, chosen) })
		} else {
			chosen.idle.Reset(peerIdle)
		}
	}, nil
}

// drop closes a connection that has no calls.
func (p *peers) drop(address string, conn *peerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn.calls > 0 || p.closed {
		return
	}
	p.conns[address] = slices.DeleteFunc(p.conns[address], func(other *peerConn) bool { return other == conn })
	if len(p.conns[address]) == 0 {
		delete(p.conns, address)
	}
	conn.Close()
}

// visit returns a connection for one call to an address that may not be a node's. Nobody shares it, and done closes it.
func (p *peers) visit(address string) (conn *grpc.ClientConn, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errPeersClosed
	}
	conn, err = newPeerConn(address, p.dial, p.options)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { conn.Close() }, nil
}

// newPeerConn returns a connection to a node. It connects at its first call.
func newPeerConn(address string, dial dialer, options []grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithContextDialer(dial), grpc.WithNoProxy(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: peerPings, Timeout: peerPingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: peerRetryMax,
			},
			MinConnectTimeout: peerConnectTimeout,
		}),
	}, options...)...)
}

// close closes all connections.
func (p *peers) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var err error
	for _, conns := range p.conns {
		for _, conn := range conns {
			if conn.idle != nil {
				conn.idle.Stop()
			}
			err = errors.Join(err, conn.Close())
		}
	}
	return err
}
