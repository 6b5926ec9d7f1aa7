package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// maxPeerConnections is how many connections of other nodes there may be. Each node needs a handful.
	maxPeerConnections = 256
	// maxMessage is the size of the entries in a message to another node at most, in bytes, unless one entry alone is larger.
	maxMessage = 16 << 20
	// maxRead is how many bytes a message from another node may have: one entry as large as any command, or many smaller
	// ones, and what is around them.
	maxRead = MaxCommand + 8<<20
	// largeRead is how many bytes of a message make it a large one. Only maxLarge of these are read at the same time, and
	// each in largeTime, which is more than its sender takes.
	largeRead = 1 << 20
	maxLarge  = 4
	largeTime = 2 * networkTimeout
	// maxAnswer is how many bytes the answer of another node may have.
	maxAnswer = 1 << 20
)

var (
	// errTooLong means that another node sends more than a message can have.
	errTooLong = errors.New("the message is too long")
	// errTooMany means that other nodes send too many large messages at the same time.
	errTooMany = errors.New("too many large messages are being received")
)

// transport is raft's transport between nodes. What comes from another node is inspected before raft sees it: raft stores
// entries before it decodes them, and panics on those that it can't decode, at every start from then on.
//
// For every connection of another node there is a transport of the library's, so that a connection can be closed, and its
// messages measured, without knowing how that transport works.
type transport struct {
	// NetworkTransport is for what this node sends.
	*raft.NetworkTransport
	log    *Log
	stream *stream
	logger hclog.Logger
	// incoming are the messages that have passed the inspection.
	incoming chan raft.RPC
	// heartbeat is raft's handler of heartbeats.
	heartbeat atomic.Pointer[func(raft.RPC)]
	// raft is nil until raft has started.
	raft atomic.Pointer[raft.Raft]
	// receiving is held while a snapshot is received.
	receiving sync.Mutex

	connections sync.WaitGroup
	// places has an element for each connection of another node, and large for each large message.
	places, large chan struct{}
	closing       sync.Once
	closed        chan struct{}

	// warned is when a warning of a connection that is meant for another node was written last.
	warning sync.Mutex
	warned  time.Time
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(l *Log) *transport {
	t := &transport{
		log: l, stream: l.stream, logger: newLibraryLogger(l.logger), incoming: make(chan raft.RPC),
		places: make(chan struct{}, maxPeerConnections), large: make(chan struct{}, maxLarge), closed: make(chan struct{}),
	}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &outgoing{stream: l.stream, idOf: t.idOf, closed: make(chan struct{})}, MaxPool: 3, Timeout: networkTimeout,
		Logger: t.logger,
		// Send one message to a node at a time, each with everything that has accumulated. With more, raft's
		// replication to a node may stop forever when a message fails: the sender waits for a reader that is gone.
		// Heartbeats continue, so nobody notices (hashicorp/raft#612).
		MaxRPCsInFlight: 1,
	})
	return t
}

// serve accepts connections of other nodes from now on, for raft, which has started.
func (t *transport) serve(started *raft.Raft) {
	t.raft.Store(started)
	t.connections.Go(func() {
		for {
			conn, err := t.stream.Accept()
			if err != nil {
				return
			}
			select {
			case t.places <- struct{}{}:
				t.connections.Go(func() {
					t.receive(conn)
					<-t.places
				})
			default:
				t.log.logger.Warn("closed a connection of another node: there are too many", "peer", conn.RemoteAddr())
				conn.Close()
			}
		}
	})
}

// receive takes messages from a connection until it is closed.
func (t *transport) receive(conn net.Conn) {
	if err := t.readGreeting(conn); err != nil {
		conn.Close()
		return
	}
	peer := newPeer(conn, maxRead)
	peer.large = t.large
	receiver := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &single{peer: peer, closed: make(chan struct{})}, Timeout: networkTimeout, Logger: t.logger,
	})
	defer receiver.Close()
	receiver.SetHeartbeatHandler(func(message raft.RPC) {
		if !t.admit(peer, &message) {
			return
		}
		if handler := t.heartbeat.Load(); handler != nil {
			(*handler)(message)
			return
		}
		t.pass(message)
	})
	for {
		select {
		case message := <-receiver.Consumer():
			if t.admit(peer, &message) {
				t.pass(message)
			}
		case <-peer.closed:
			return
		case <-t.closed:
			peer.Close()
			return
		}
	}
}

// pass hands a message to raft.
func (t *transport) pass(message raft.RPC) {
	select {
	case t.incoming <- message:
	case <-t.closed:
		message.Respond(nil, raft.ErrTransportShutdown)
	}
}

// admit inspects a message. One that is refused is answered with the reason, and its connection closed.
func (t *transport) admit(peer *peer, message *raft.RPC) bool {
	err := t.inspect(message.Command)
	if request, ok := message.Command.(*raft.InstallSnapshotRequest); ok && err == nil {
		err = t.receiveSnapshot(peer, request, message)
	}
	if err == nil {
		return true
	}
	t.log.logger.Warn("refused a message from another node", "peer", peer.RemoteAddr(), "error", err)
	peer.closeAfterAnswer()
	message.Respond(nil, fmt.Errorf("refused: %w", err))
	return false
}

// receiveSnapshot receives a snapshot as a whole, and makes sure that the state can be restored from it, before raft
// makes it the node's newest.
func (t *transport) receiveSnapshot(peer *peer, request *raft.InstallSnapshotRequest, message *raft.RPC) error {
	checker, ok := t.log.machine.state.(Checker)
	if !ok {
		peer.allow(request.Size)
		return nil
	}
	if !t.receiving.TryLock() {
		return errors.New("another snapshot is being received")
	}
	defer t.receiving.Unlock()
	peer.allow(request.Size)
	file, err := t.log.newSpool()
	if err != nil {
		return notKept(err)
	}
	receiving, stop := context.WithCancel(context.Background())
	go file.watch(receiving)
	n, err := io.Copy(file, message.Reader)
	stop()
	if err == nil && n != request.Size {
		err = fmt.Errorf("the snapshot is cut off: it has %d of %d bytes", n, request.Size)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err == nil {
		if err = checker.Check(bufio.NewReaderSize(file, backupChunk)); err != nil {
			err = fmt.Errorf("the state can't be restored from the snapshot: %w", err)
		}
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.discard()
		return err
	}
	answers := make(chan raft.RPCResponse, 1)
	answer := message.RespChan
	message.Reader, message.RespChan = file, answers
	t.connections.Go(func() {
		defer file.discard()
		select {
		case response := <-answers:
			answer <- response
		case <-t.closed:
			answer <- raft.RPCResponse{Error: raft.ErrTransportShutdown}
		}
	})
	return nil
}

// Consumer returns the messages that raft is to answer.
func (t *transport) Consumer() <-chan raft.RPC { return t.incoming }

// SetHeartbeatHandler sets raft's handler of heartbeats, which do not wait for its disk.
func (t *transport) SetHeartbeatHandler(handler func(raft.RPC)) { t.heartbeat.Store(&handler) }

// Close closes all connections.
func (t *transport) Close() error {
	t.closing.Do(func() { close(t.closed) })
	err := t.NetworkTransport.Close()
	t.stream.sever()
	return errors.Join(err, t.stream.network.Close())
}

// outgoing is a stream on which only this node opens connections.
type outgoing struct {
	*stream
	// idOf returns the id of the node that has an address.
	idOf   func(raft.ServerAddress) (raft.ServerID, error)
	once   sync.Once
	closed chan struct{}
}

func (o *outgoing) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, err := o.idOf(address)
	if err != nil {
		return nil, err
	}
	conn, err := o.stream.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	if err := greet(conn, id, timeout); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return newPeer(conn, maxAnswer), nil
}

// Accept waits until the stream is closed.
func (o *outgoing) Accept() (net.Conn, error) {
	<-o.closed
	return nil, net.ErrClosed
}

func (o *outgoing) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

// single is a stream with one connection, which another node has opened.
type single struct {
	peer   *peer
	given  bool
	once   sync.Once
	closed chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if !s.given {
		s.given = true
		return s.peer, nil
	}
	<-s.closed
	return nil, net.ErrClosed
}

func (s *single) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return nil, net.ErrClosed }

func (s *single) Addr() net.Addr { return s.peer.LocalAddr() }

func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.peer.Close()
}

// peer is a connection to another node. It counts what is read between two messages that this node writes.
type peer struct {
	net.Conn
	limit int64
	// left is how many more bytes may be read until something is written.
	left atomic.Int64
	// large is where a message that is large takes a place, and holds says that this one has. nil: any number may be large.
	large chan struct{}
	holds atomic.Bool
	// progressing says that what is read now has to come without long pauses.
	progressing atomic.Bool
	// refused says that the connection is to be closed after the next answer.
	refused atomic.Bool
	once    sync.Once
	closed  chan struct{}
}

func newPeer(conn net.Conn, limit int64) *peer {
	p := &peer{Conn: conn, limit: limit, closed: make(chan struct{})}
	p.left.Store(limit)
	return p
}

// allow admits so many bytes besides.
func (p *peer) allow(size int64) {
	p.progressing.Store(true)
	p.left.Add(size)
}

func (p *peer) closeAfterAnswer() { p.refused.Store(true) }

func (p *peer) Read(data []byte) (int, error) {
	left := p.left.Load()
	if left <= 0 {
		return 0, errTooLong
	}
	switch {
	case p.progressing.Load():
		if err := p.SetReadDeadline(time.Now().Add(networkTimeout)); err != nil {
			return 0, err
		}
	case p.large != nil && p.limit-left > largeRead && !p.holds.Load():
		select {
		case p.large <- struct{}{}:
			p.holds.Store(true)
		default:
			return 0, errTooMany
		}
		if err := p.SetReadDeadline(time.Now().Add(largeTime)); err != nil {
			return 0, err
		}
	}
	n, err := p.Conn.Read(data[:min(int64(len(data)), left)])
	p.left.Add(-int64(n))
	return n, err
}

func (p *peer) Write(data []byte) (int, error) {
	if held, progressed := p.release(), p.progressing.Swap(false); held || progressed {
		if err := p.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	p.left.Store(p.limit)
	n, err := p.Conn.Write(data)
	if p.refused.Load() {
		p.Close()
	}
	return n, err
}

// release gives up the place of a large message, if it has one.
func (p *peer) release() bool {
	if !p.holds.CompareAndSwap(true, false) {
		return false
	}
	<-p.large
	return true
}

func (p *peer) Close() error {
	p.release()
	p.once.Do(func() { close(p.closed) })
	return p.Conn.Close()
}
