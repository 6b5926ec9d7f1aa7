package command

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	leader    = trellisv1.NodeRole_NODE_ROLE_LEADER
	follower  = trellisv1.NodeRole_NODE_ROLE_FOLLOWER
	candidate = trellisv1.NodeRole_NODE_ROLE_CANDIDATE
)

// sampleNodes are a leader, a follower that lags behind, and a node that is away.
func sampleNodes() []nodeRow {
	return []nodeRow{
		newNodeRow(&trellisv1.NodeStatus{
			Id: "k3xw0p7q", Address: "a:7070", Role: leader, Version: "v1", Term: 4, LastIndex: 1003, CommitIndex: 1002,
			AppliedIndex: 1002, SnapshotIndex: 900, DiskFree: 45 << 30, DiskSize: 100 << 30,
		}),
		{
			ID: "9v2m4c1z", Address: "b:7070", Role: "follower", Version: "v2", Term: 4, LastIndex: 998, CommitIndex: 998,
			AppliedIndex: 990, Lag: 12, SecondsSinceContact: seconds(0.25), DiskFree: 3 << 20, DiskSize: 1 << 30,
		},
		{ID: "t8y5h6n2", Address: "c:7070", Role: unreachable, Error: "no coordinator at c:7070 within 3s: no answer"},
	}
}

func seconds(s float64) *float64 { return &s }

func TestNodesGolden(t *testing.T) {
	checkListing(t, "nodes", func(format string, out *bytes.Buffer) error {
		return writeNodes(out, outputFormat(format), sampleNodes())
	})
}

// Every node is asked for its own state. One that is away, or is not who it should be, is shown as such.
func TestClusterRows(t *testing.T) {
	status := func(id string, role trellisv1.NodeRole, commit, applied uint64) *trellisv1.NodeStatus {
		return &trellisv1.NodeStatus{Id: id, Role: role, CommitIndex: commit, AppliedIndex: applied}
	}
	second := &fakeCoordinator{cluster: &trellisv1.GetClusterResponse{Status: status("second", leader, 30, 25)}}
	second.cluster.Status.SinceContact = durationpb.New(1500 * time.Millisecond)
	stranger := &fakeCoordinator{cluster: &trellisv1.GetClusterResponse{Status: status("stranger", follower, 1, 1)}}
	rows := clusterRows(t.Context(), &trellisv1.GetClusterResponse{
		Nodes: []*trellisv1.Node{
			{Id: "first", Address: "nowhere:1"},
			{Id: "second", Address: second.serve(t)},
			{Id: "third", Address: stranger.serve(t)},
			{Id: "fourth", Address: freeAddress(t)},
		},
		Status: status("first", follower, 28, 27),
	})
	var got []string
	for _, row := range rows {
		got = append(got, row.ID+" "+row.Role)
	}
	if want := "first follower, second leader, third unreachable, fourth unreachable"; strings.Join(got, ", ") != want {
		t.Fatalf("got %v, want %s", got, want)
	}
	if rows[0].Lag != 3 || rows[1].Lag != 5 || rows[3].Lag != 0 || *rows[1].SecondsSinceContact != 1.5 {
		t.Errorf("got %+v", rows)
	}
	if !strings.Contains(rows[2].Error, "another node answers at its address: stranger") {
		t.Errorf("a stranger is %q", rows[2].Error)
	}
	if !strings.Contains(rows[3].Error, "connection refused") {
		t.Errorf("nobody is %q", rows[3].Error)
	}
}

func TestDescribeSafety(t *testing.T) {
	const away = trellisv1.NodeRole_NODE_ROLE_UNSPECIFIED
	for _, test := range []struct {
		roles []trellisv1.NodeRole
		want  string
	}{
		{[]trellisv1.NodeRole{leader}, "The cluster has one node: while it is away, workers and commands wait for it."},
		{
			[]trellisv1.NodeRole{leader, follower},
			"The cluster has 2 nodes and needs all of them: add another, so that it can lose one.",
		},
		{[]trellisv1.NodeRole{leader, follower, follower}, "The cluster has 3 nodes and goes on without any one of them."},
		{
			[]trellisv1.NodeRole{leader, follower, away},
			"The cluster has 3 nodes and goes on without any one of them. 1 of them does not answer: it can lose no other.",
		},
		{
			[]trellisv1.NodeRole{candidate, follower, follower},
			"The cluster has 3 nodes and goes on without any one of them. It has no leader at the moment.",
		},
		{[]trellisv1.NodeRole{candidate, away, away}, "The cluster has 3 nodes and goes on without any one of them. " +
			"Only 1 of them answers: nothing can be changed until 2 do."},
		{[]trellisv1.NodeRole{leader, follower, follower, away, follower}, "The cluster has 5 nodes and goes on without any " +
			"2 of them. 1 of them does not answer: it can lose 1 more."},
	} {
		var rows []nodeRow
		for _, role := range test.roles {
			row := newNodeRow(&trellisv1.NodeStatus{Role: role})
			if role == away {
				row.Role = unreachable
			}
			rows = append(rows, row)
		}
		if got := describeSafety(rows); got != test.want {
			t.Errorf("%v: got %q, want %q", test.roles, got, test.want)
		}
	}
}

func TestShortBytes(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 3 << 19: "1.5 MiB", 10240: "10 KiB", 45 << 30: "45 GiB",
		1<<64 - 1: "16 EiB",
	} {
		if got := shortBytes(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
}

// Only a coordinator that waits for it is added, under the address that it calls itself.
func TestAddNode(t *testing.T) {
	var added []*trellisv1.AddNodeRequest
	here := &fakeCoordinator{add: func(request *trellisv1.AddNodeRequest) error {
		added = append(added, request)
		return nil
	}}
	address := here.serve(t)
	there := new(fakeCoordinator)
	other := there.serve(t)
	members := []*trellisv1.Node{{Id: "first", Address: address, Leader: true}}
	for _, test := range []struct {
		name        string
		here, there []*trellisv1.Node
		status      *trellisv1.NodeStatus
		code        int
		want        string
		added       bool
	}{
		{"waits", members, nil, &trellisv1.NodeStatus{Id: "new", Address: other}, 0, "Node new at " + other + " is in", true},
		{"has a new address", members, members, &trellisv1.NodeStatus{Id: "first", Address: other}, 0, "Node first at", true},
		{
			"is a node", append(members, &trellisv1.Node{Id: "new", Address: other}), nil,
			&trellisv1.NodeStatus{Id: "new", Address: other}, 0, "is in the cluster already", false,
		},
		{
			"calls itself something else", members, nil, &trellisv1.NodeStatus{Id: "new", Address: "localhost:1"}, 1,
			"calls itself localhost:1", false,
		},
		{
			"is another cluster", members,
			[]*trellisv1.Node{{Id: "new", Address: other}},
			&trellisv1.NodeStatus{Id: "new", Address: other}, 1, "belongs to a cluster of its own", false,
		},
		{
			"nor do we belong", nil, nil, &trellisv1.NodeStatus{Id: "new", Address: other}, 1, "belongs to no cluster itself",
			false,
		},
	} {
		added = nil
		here.cluster = &trellisv1.GetClusterResponse{Nodes: test.here}
		there.cluster = &trellisv1.GetClusterResponse{Nodes: test.there, Status: test.status}
		stdout, stderr, code := trellis(t, "cluster", "add", other, "--coordinator", address)
		if code != test.code || !strings.Contains(stdout+stderr, test.want) || (len(added) == 1) != test.added {
			t.Errorf("%s: exit code %d, added %v\n%s%s", test.name, code, added, stdout, stderr)
		}
	}
	if _, stderr, code := trellis(t, "cluster", "add", freeAddress(t), "--coordinator", address); code != exitUnavailable ||
		!strings.Contains(stderr, "ask the coordinator at") {
		t.Errorf("nobody there: exit code %d: %s", code, stderr)
	}
}
