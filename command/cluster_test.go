package command

import (
	"strings"
	"testing"

	"trellis/command/exit"
	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// Only a coordinator that waits for it is added, under the address that it calls itself.
func TestAddNode(t *testing.T) {
	var added []*trellisv1.AddNodeRequest
	here := &fake.Coordinator{OnAdd: func(request *trellisv1.AddNodeRequest) error {
		added = append(added, request)
		return nil
	}}
	address := here.Serve(t)
	there := new(fake.Coordinator)
	other := there.Serve(t)
	members := []*trellisv1.Node{{Id: "first", Address: address, Leader: true}}
	for _, test := range []struct {
		name        string
		here, there []*trellisv1.Node
		status      *trellisv1.NodeStatus
		code        int
		want        string
		added       bool
	}{
		{
			"waits", members, nil, &trellisv1.NodeStatus{Id: "new", Address: other}, 0,
			"Node new at " + other + " added", true,
		},
		{
			"has a new address", members, members, &trellisv1.NodeStatus{Id: "first", Address: other}, 0,
			"Node first at", true,
		},
		{
			"is a node", append(members, &trellisv1.Node{Id: "new", Address: other}), nil,
			&trellisv1.NodeStatus{Id: "new", Address: other}, 0, "is already in the cluster", false,
		},
		{
			"calls itself something else", members, nil, &trellisv1.NodeStatus{Id: "new", Address: "localhost:1"}, 1,
			"advertises the address localhost:1", false,
		},
		{
			"is another cluster", members,
			[]*trellisv1.Node{{Id: "new", Address: other}},
			&trellisv1.NodeStatus{Id: "new", Address: other}, 1, "is in another cluster", false,
		},
		{
			"nor do we belong", nil, nil, &trellisv1.NodeStatus{Id: "new", Address: other}, 1,
			"is not in a cluster",
			false,
		},
	} {
		added = nil
		here.Cluster = &trellisv1.GetClusterResponse{Nodes: test.here}
		there.Cluster = &trellisv1.GetClusterResponse{Nodes: test.there, Status: test.status}
		stdout, stderr, code := trellis(t, "cluster", "add", other, "--coordinator", address)
		if code != test.code || !strings.Contains(stdout+stderr, test.want) || (len(added) == 1) != test.added {
			t.Errorf("%s: exit code %d, added %v\n%s%s", test.name, code, added, stdout, stderr)
		}
	}
	if _, stderr, code := trellis(t, "cluster", "add", fake.FreeAddress(t), "--coordinator",
		address); code != exit.Unavailable ||
		!strings.Contains(stderr, "ask the coordinator at") {
		t.Errorf("nobody there: exit code %d: %s", code, stderr)
	}
}
