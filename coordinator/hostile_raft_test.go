package coordinator

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// hostileStream opens connections to a target in the nodes' protocol.
type hostileStream struct {
	*target
	closed chan struct{}
}

func (s hostileStream) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return s.dialNode("127.0.0.1")
}

func (s hostileStream) Accept() (net.Conn, error) {
	<-s.closed
	return nil, net.ErrClosed
}

func (s hostileStream) Close() error {
	close(s.closed)
	return nil
}

func (s hostileStream) Addr() net.Addr { return &net.TCPAddr{} }

// dialNode opens a connection in the nodes' protocol.
func (h *target) dialNode(from string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := h.dial(ctx, from)
	if err == nil {
		id := h.id()
		_, err = io.WriteString(conn, nodePreface+string([]byte{byte(len(id))})+id)
	}
	return conn, err
}

// id is the target's, which other nodes say at the beginning of a connection.
func (h *target) id() string {
	var node struct{ ID string }
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		content, err := os.ReadFile(filepath.Join(h.data, "node.json"))
		if err == nil {
			err = json.Unmarshal(content, &node)
		}
		if err == nil {
			return node.ID
		}
		if time.Since(began) > time.Minute { // It is still starting.
			h.Fatal(err)
		}
	}
}

// raft runs one exchange with the target, as another node would have it.
func (h *target) raft(exchange func(raft.Transport) error) error {
	transport := raft.NewNetworkTransport(hostileStream{h, make(chan struct{})}, 1, 10*time.Second, io.Discard)
	defer transport.Close()
	return exchange(transport)
}

// hostileAddress is where nobody answers.
const hostileAddress = "127.0.0.1:1"

func header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("hostile"), Addr: []byte(hostileAddress)}
}

// send sends entries after the one with the index and term prev.
func (h *target) send(term, prev, prevTerm, commit uint64, entries ...*raft.Log) (*raft.AppendEntriesResponse, error) {
	response := &raft.AppendEntriesResponse{}
	return response, h.raft(func(transport raft.Transport) error {
		return transport.AppendEntries("target", "target", &raft.AppendEntriesRequest{
			RPCHeader: header(), Term: term, PrevLogEntry: prev, PrevLogTerm: prevTerm, Entries: entries,
			LeaderCommitIndex: commit,
		}, response)
	})
}

func (h *target) installSnapshot(request raft.InstallSnapshotRequest, content string) error {
	request.RPCHeader, request.SnapshotVersion = header(), 1
	if request.Size == 0 {
		request.Size = int64(len(content))
	}
	if request.ConfigurationIndex == 0 {
		request.ConfigurationIndex = 1
	}
	return h.raft(func(transport raft.Transport) error {
		return transport.InstallSnapshot("target", "target", &request, &raft.InstallSnapshotResponse{},
			strings.NewReader(content))
	})
}

// One packet of anybody's destroyed the data directory of a coordinator that was alone: raft stored an entry that it could
// not decode. Alone, it takes none.
func TestACoordinatorAloneSpeaksToNoNode(t *testing.T) {
	config := hostileConfig{Data: t.TempDir()}
	alone := newTarget(t, config)
	garbage := &raft.Log{Index: 2, Term: 9, Type: raft.LogConfiguration, Data: []byte("garbage")}
	if _, err := alone.send(9, 0, 0, 2, garbage); err == nil {
		t.Error("it has taken an entry")
	}
	// Another client does not notice.
	stop := alone.latency("127.0.0.2")
	const attempts = 1000
	for range attempts {
		conn, err := alone.dialNode("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	worst, calls := stop()
	t.Logf("%d connections were refused; another client's slowest of %d calls took %v; peak memory %d MiB", attempts,
		calls, worst, alone.status("VmHWM")>>10)
	conn, err := alone.dialNode("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection in the nodes' protocol stays open")
	}
	if _, err := alone.client("127.0.0.1").studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{}); err != nil {
		t.Error(err)
	}
	alone.eventually("it says why", func() bool { return strings.Contains(alone.said.String(), "no other nodes") })
	alone.stop()
	newTarget(t, config)
}

// What a hostile node sends to a node that listens to it is refused with a reason, and never stored.
func TestAHostileNodeDamagesNothing(t *testing.T) {
	config := hostileConfig{Data: t.TempDir(), Wait: true}
	node := newTarget(t, config)
	members := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
		{ID: "hostile", Address: hostileAddress},
		{ID: raft.ServerID(node.id()), Address: raft.ServerAddress(node.address)},
	}})
	// The hostile node first becomes the leader of a cluster of two.
	if response, err := node.send(1, 0, 0, 2,
		&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: members},
		&raft.Log{Index: 2, Term: 1, Type: raft.LogNoop}); err != nil || !response.Success {
		t.Fatalf("the node does not follow: %v, %v", response, err)
	}
	command, err := proto.Marshal(&trellisv1.Command{})
	if err != nil {
		t.Fatal(err)
	}
	after2 := func(entries ...*raft.Log) func() error {
		return func() error { _, err := node.send(2, 2, 1, 2, entries...); return err }
	}
	snapshot := func(change func(*raft.InstallSnapshotRequest), content string) func() error {
		request := raft.InstallSnapshotRequest{Term: 2, LastLogIndex: 100, LastLogTerm: 2, Configuration: members}
		change(&request)
		return func() error { return node.installSnapshot(request, content) }
	}
	nothing := func(*raft.InstallSnapshotRequest) {}
	for name, test := range map[string]struct {
		send func() error
		want string
	}{
		"configuration of garbage": {after2(&raft.Log{Index: 3, Term: 2, Type: raft.LogConfiguration, Data: []byte("garbage")}), "the list of nodes"},
		"configuration of nobody": {after2(&raft.Log{
			Index: 3, Term: 2, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(raft.Configuration{}),
		}), "none that votes"},
		"command of garbage": {after2(&raft.Log{Index: 3, Term: 2, Data: []byte("garbage")}), "entry 3"},
		"garbage after a command": {after2(
			&raft.Log{Index: 3, Term: 2, Data: command}, &raft.Log{Index: 4, Term: 2, Data: []byte("garbage")}), "entry 4"},
		"no entry":        {after2(nil), "missing"},
		"a gap":           {after2(&raft.Log{Index: 9, Term: 2, Type: raft.LogNoop}), "entry 9 follows entry 2"},
		"a later term":    {after2(&raft.Log{Index: 3, Term: 3, Type: raft.LogNoop}), "from a leader of term 2"},
		"an earlier term": {after2(&raft.Log{Index: 3, Term: 0, Type: raft.LogNoop}), "is of term 0"},
		"an old type":     {after2(&raft.Log{Index: 3, Term: 2, Type: raft.LogAddPeerDeprecated, Data: []byte("x")}), "unknown type"},
		"a long extension": {
			after2(&raft.Log{Index: 3, Term: 2, Type: raft.LogNoop, Extensions: make([]byte, 1<<16)}), "entry 3",
		},
		"another entry in place of a committed one": {func() error {
			_, err := node.send(2, 1, 1, 2, &raft.Log{Index: 2, Term: 2, Type: raft.LogNoop})
			return err
		}, "which is committed"},
		"the last term": {func() error { _, err := node.send(math.MaxUint64, 2, 1, 2); return err }, "can't follow"},
		"a vote in the last term": {func() error {
			return node.raft(func(transport raft.Transport) error {
				return transport.RequestVote("target", "target", &raft.RequestVoteRequest{
					RPCHeader: header(), Term: math.MaxUint64, LastLogIndex: 9, LastLogTerm: 9, LeadershipTransfer: true,
				}, &raft.RequestVoteResponse{})
			})
		}, "can't follow"},
		"a snapshot of the last term": {snapshot(func(r *raft.InstallSnapshotRequest) { r.Term = math.MaxUint64 }, "x"), "can't follow"},
		"a snapshot of garbage":       {snapshot(nothing, strings.Repeat("garbage", 1000)), "can't be restored"},
		"an empty snapshot":           {snapshot(nothing, ""), "can't be restored"},
		"a snapshot of nobody":        {snapshot(func(r *raft.InstallSnapshotRequest) { r.Configuration = []byte("x") }, "x"), "list of nodes"},
		"a snapshot up to the end":    {snapshot(func(r *raft.InstallSnapshotRequest) { r.LastLogIndex = math.MaxUint64 }, "x"), "ends with entry"},
		"a snapshot of less than nothing": {
			snapshot(func(r *raft.InstallSnapshotRequest) { r.Size = -1 }, "x"), "-1 bytes",
		},
		"a snapshot larger than the disk": {
			snapshot(func(r *raft.InstallSnapshotRequest) { r.Size = 1 << 50 }, "x"), "no room",
		},
		"a snapshot in place of committed entries": {
			snapshot(func(r *raft.InstallSnapshotRequest) { r.LastLogIndex, r.LastLogTerm = 2, 2 }, "x"), "which is committed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.send(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the answer is %v, want %q in it", err, test.want)
			}
			// Nothing has changed.
			if response, err := node.send(1, 2, 1, 2); err != nil || !response.Success || response.LastLog != 2 ||
				response.Term != 1 {
				t.Errorf("afterwards, the node answers %+v, %v", response, err)
			}
		})
	}
	if !strings.Contains(node.said.String(), "refused a message from another node") {
		t.Error("the log does not say that anything was refused")
	}
	node.stop()
	node = newTarget(t, config)
	var again *trellisv1.GetClusterResponse
	client := node.client("127.0.0.1").cluster
	node.eventually("it has read its log", func() bool {
		again, err = client.GetCluster(t.Context(), &trellisv1.GetClusterRequest{})
		return status.Code(err) != codes.Unavailable
	})
	if err != nil || again.GetStatus().GetLastIndex() != 2 || len(again.GetNodes()) != 2 {
		t.Errorf("after a restart: %v, %v", again, err)
	}
}

// A message without end is cut off, and the node's memory stays bounded.
func TestAMessageWithoutEndIsCutOff(t *testing.T) {
	skipShort(t)
	node := newTarget(t, hostileConfig{Data: t.TempDir(), Wait: true})
	conn, err := node.dialNode("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// AppendEntries, a map with one field, and in it 4 GiB of bytes.
	message := append([]byte{0, 0x81}, "\xa6Leader\xc6"...)
	message = binary.BigEndian.AppendUint32(message, math.MaxUint32)
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	chunk, sent := bytes.Repeat([]byte{1}, 1<<20), 0
	conn.SetWriteDeadline(time.Now().Add(time.Minute))
	for ; sent < 1<<10; sent++ {
		if _, err = conn.Write(chunk); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it has taken %d MiB: %v", sent, err)
	}
	peak := node.status("VmHWM") >> 10
	t.Logf("it was cut off after %d MiB; peak memory %d MiB", sent, peak)
	if sent > 60 || peak > 400*memoryFactor {
		t.Errorf("it was cut off after %d MiB, and took %d MiB", sent, peak)
	}
	if _, err := node.send(1, 0, 0, 0); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
