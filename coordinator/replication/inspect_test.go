package replication

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// anything is a state machine that takes whatever it is given.
type anything struct{}

func (anything) Apply(uint64, []byte) any    { return nil }
func (anything) Snapshot() (Snapshot, error) { return strings.NewReader(""), nil }
func (anything) Restore(r io.Reader) error   { _, err := io.Copy(io.Discard, r); return err }
func (anything) Check(r io.Reader) error     { _, err := io.Copy(io.Discard, r); return err }

// pipes is a network on which the test hands over connections.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Dial(string, time.Duration) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}
func (p *pipes) Addr() net.Addr { return address("pipe:1") }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// noticed is a connection that says when it is closed.
type noticed struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (n *noticed) Close() error {
	n.once.Do(func() { close(n.closed) })
	return n.Conn.Close()
}

// recorder is a connection that keeps what is written to it, and answers nothing.
type recorder struct {
	net.Conn
	written bytes.Buffer
}

func (r *recorder) Write(data []byte) (int, error)   { return r.written.Write(data) }
func (r *recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) SetDeadline(time.Time) error      { return nil }
func (r *recorder) RemoteAddr() net.Addr             { return address("recorder:1") }
func (r *recorder) Accept() (net.Conn, error)        { return nil, net.ErrClosed }
func (r *recorder) Addr() net.Addr                   { return address("recorder:1") }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

func (r *recorder) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return r, nil }

// recorded is how a node writes a message.
func recorded(send func(raft.Transport)) []byte {
	r := &recorder{}
	transport := raft.NewNetworkTransport(r, 1, time.Second, io.Discard)
	defer transport.Close()
	send(transport)
	return r.written.Bytes()
}

// FuzzPeer: whatever another node sends, this one lives on.
func FuzzPeer(f *testing.F) {
	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("other"), Addr: []byte("other:1")}
	members := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
		{ID: "other", Address: "other:1"}, {ID: "node", Address: "node:1"},
	}})
	entries := recorded(func(t raft.Transport) {
		t.AppendEntries("node", "node:1", &raft.AppendEntriesRequest{
			RPCHeader: header, Term: 1, LeaderCommitIndex: 3, Entries: []*raft.Log{
				{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: members},
				{Index: 2, Term: 1, Type: raft.LogNoop},
				{Index: 3, Term: 1, Data: []byte("command")},
			},
		}, &raft.AppendEntriesResponse{})
	})
	vote := recorded(func(t raft.Transport) {
		t.RequestVote("node", "node:1", &raft.RequestVoteRequest{
			RPCHeader: header, Term: 2, LastLogIndex: 3, LastLogTerm: 1,
		}, &raft.RequestVoteResponse{})
	})
	snapshot := recorded(func(t raft.Transport) {
		t.InstallSnapshot("node", "node:1", &raft.InstallSnapshotRequest{
			RPCHeader: header, SnapshotVersion: 1, Term: 2, LastLogIndex: 9, LastLogTerm: 2, Configuration: members,
			ConfigurationIndex: 1, Size: 7,
		}, &raft.InstallSnapshotResponse{}, strings.NewReader("content"))
	})
	for _, seed := range [][]byte{entries, vote, snapshot, {4}, {9}, append(bytes.Clone(entries), vote...)} {
		f.Add(seed)
	}
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	log, err := Open(Config{Memory: NewMemory("node"), Address: "node:1", Network: network}, anything{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { log.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		here, there := net.Pipe()
		conn := &noticed{Conn: there, closed: make(chan struct{})}
		network.conns <- conn
		go func() { _, _ = io.Copy(io.Discard, here) }()
		here.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = here.Write(append([]byte("\x04node"), data...))
		here.Close()
		select {
		case <-conn.closed:
		case <-time.After(30 * time.Second):
			t.Fatal("the connection stays open")
		}
		if err := log.failure.first(); err != nil {
			t.Fatalf("the node has failed: %v", err)
		}
	})
}

// A message that has more than fits is cut off by its sender, and raft goes on after it.
func TestLargeBatchesArriveInParts(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		leader := c.leader(c.members...)
		away := c.others(leader)[0]
		c.kill(away)
		large := strings.Repeat("x", maxMessage/3)
		commands := 7
		if testing.Short() {
			commands = 4
		}
		for range commands {
			propose(c, leader.log, large)
		}
		c.start(away, false)
		if got := c.converge(); len(got) != commands {
			t.Errorf("the nodes have %d commands", len(got))
		}
	})
}
