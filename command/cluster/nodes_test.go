package cluster

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/client"
	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
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
			ID: "9v2m4c1z", Address: "b:7070", Role: "follower", Version: "v2", Term: 4, LastIndex: 998,
			CommitIndex:  998,
			AppliedIndex: 990, Lag: 12, SecondsSinceContact: seconds(0.25), DiskFree: 3 << 20, DiskSize: 1 << 30,
		},
		{ID: "t8y5h6n2", Address: "c:7070", Role: unreachable, Error: "no coordinator at c:7070 within 3s: no answer"},
	}
}

func seconds(s float64) *float64 { return &s }

func TestNodesGolden(t *testing.T) {
	golden.CheckListing(t, "nodes", func(format string, out *bytes.Buffer) error {
		return writeNodes(out, output.Format(format), sampleNodes())
	})
}

// Every node is asked for its own state. One that is away, or is not who it should be, is shown as such.
func TestClusterRows(t *testing.T) {
	status := func(id string, role trellisv1.NodeRole, commit, applied uint64) *trellisv1.NodeStatus {
		return &trellisv1.NodeStatus{Id: id, Role: role, CommitIndex: commit, AppliedIndex: applied}
	}
	second := &fake.Coordinator{Cluster: &trellisv1.GetClusterResponse{Status: status("second", leader, 30, 25)}}
	second.Cluster.Status.SinceContact = durationpb.New(1500 * time.Millisecond)
	stranger := &fake.Coordinator{Cluster: &trellisv1.GetClusterResponse{Status: status("stranger", follower, 1, 1)}}
	rows := clusterRows(t.Context(), new(client.Client), &trellisv1.GetClusterResponse{
		Nodes: []*trellisv1.Node{
			{Id: "first", Address: "nowhere:1"},
			{Id: "second", Address: second.Serve(t)},
			{Id: "third", Address: stranger.Serve(t)},
			{Id: "fourth", Address: fake.FreeAddress(t)},
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
	if !strings.Contains(rows[2].Error, "another node responds at its address: stranger") {
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
		{[]trellisv1.NodeRole{leader}, "The cluster has one node: while it is down, workers and commands wait for it."},
		{
			[]trellisv1.NodeRole{leader, follower},
			"The cluster has 2 nodes and needs all of them: with another node, it can lose one.",
		},
		{
			[]trellisv1.NodeRole{leader, follower, follower}, "The cluster has 3 nodes and can lose any one of them.",
		},
		{
			[]trellisv1.NodeRole{leader, follower, away},
			"The cluster has 3 nodes and can lose any one of them. 1 of them does not respond: it cannot lose another.",
		},
		{
			[]trellisv1.NodeRole{candidate, follower, follower},
			"The cluster has 3 nodes and can lose any one of them. It currently has no leader.",
		},
		{[]trellisv1.NodeRole{candidate, away, away}, "The cluster has 3 nodes and can lose any one of them. Only 1 " +
			"of them responds: no changes are possible until 2 do."},
		{[]trellisv1.NodeRole{leader, follower, follower, away, follower}, "The cluster has 5 nodes and can lose " +
			"any 2 of them. 1 of them does not respond: it can lose 1 more."},
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
