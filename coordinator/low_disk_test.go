package coordinator

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// almostAll is more than any disk has free, in bytes: a node that must keep it has a full disk.
const almostAll = 1 << 60

// A leader whose disk is full does not go on refusing every study while its peers have room.
func TestALeaderWithAFullDiskHandsOver(t *testing.T) {
	simulate(t, func(c *cluster) {
		full := c.start("full:1", Config{MinFreeDisk: almostAll})
		c.await("full leads", func() bool { return full.leader.Leads() })
		err := full.createError(syntheticSpec("one", []uint32{4}, []uint32{1}))
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a study on a full disk ended with %v", err)
		}
		c.start("too:1", Config{Join: []string{"full:1"}, MinFreeDisk: almostAll})
		roomy := c.start("roomy:1", Config{Join: []string{"full:1"}})
		c.await("roomy leads", func() bool { return roomy.leader.Leads() })
		if err := full.createError(syntheticSpec("one", []uint32{4}, []uint32{1})); err != nil {
			t.Errorf("a study sent to the node that handed over ended with %v", err)
		}
		<-time.After(10 * diskInterval) // The clock is synctest's.
		if !roomy.leader.Leads() {
			t.Error("roomy does not lead any more")
		}
	})
}

// When all disks are full, nobody gains by an election.
func TestLeadersWithFullDisksStay(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{MinFreeDisk: almostAll})
		c.await("one leads", func() bool { return one.leader.Leads() })
		two := c.start("two:1", Config{Join: []string{"one:1"}, MinFreeDisk: almostAll})
		c.await("two is a member", func() bool { return two.view.Load().ready })
		term := one.cluster().GetStatus().GetTerm()
		<-time.After(10 * diskInterval) // The clock is synctest's.
		if now := one.cluster().GetStatus(); !one.leader.Leads() || now.GetTerm() != term {
			t.Errorf("one leads: %t, in term %d, want true, in term %d", one.leader.Leads(), now.GetTerm(), term)
		}
		if !one.cluster().GetStatus().GetDiskLow() || !two.cluster().GetStatus().GetDiskLow() {
			t.Error("the nodes don't say that their disks are low")
		}
	})
}

// A node is chosen only if it knows how large its disk is, and would not soon have to hand over in turn.
func TestRoomForNewStudies(t *testing.T) {
	const size = 1000
	follower := trellisv1.NodeRole_NODE_ROLE_FOLLOWER
	for name, test := range map[string]struct {
		status *trellisv1.NodeStatus
		want   bool
	}{
		"it does not answer":     {nil, false},
		"room":                   {&trellisv1.NodeStatus{Role: follower, DiskFree: 70, DiskReserve: 50, DiskSize: size}, true},
		"hardly any room":        {&trellisv1.NodeStatus{Role: follower, DiskFree: 69, DiskReserve: 50, DiskSize: size}, false},
		"low":                    {&trellisv1.NodeStatus{Role: follower, DiskFree: 49, DiskReserve: 50, DiskSize: size, DiskLow: true}, false},
		"its disk can't be read": {&trellisv1.NodeStatus{Role: follower}, false},
		"no follower":            {&trellisv1.NodeStatus{DiskFree: 500, DiskReserve: 50, DiskSize: size}, false},
	} {
		if share, got := room(test.status); got != test.want || got && share != 0.07 {
			t.Errorf("%s: %t, a share of %v", name, got, share)
		}
	}
}

// A node says how large its disk is if it says that it is low or not.
func TestANodeSaysHowLargeItsDiskIs(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{MinFreeDisk: almostAll})
		c.await("one leads", func() bool { return one.leader.Leads() })
		own := one.cluster().GetStatus()
		if !own.GetDiskLow() || own.GetDiskSize() == 0 || own.GetDiskFree() >= own.GetDiskReserve() {
			t.Errorf("the node's status is %v", own)
		}
	})
}
