package replication

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A transfer of the leadership to a node that has hung does not end when raft gives it up: the leader goes on to refuse
// everything. If that lasts, the node fails, so that another one leads. Goroutines of raft's may stay: see TestMain.
func TestTransferThatDoesNotEnd(t *testing.T) {
	onDisk(t, 3, Config{transferTimeout: time.Second}, func(c *cluster) {
		leader := c.stuck()
		// A machine that stalls may cost a node the leadership meanwhile.
		for tries := 0; leader == nil; tries++ {
			if c.network.Heal(); tries > 10 {
				c.Fatal("no leader has stayed one")
			}
			leader = c.stuck()
		}
		c.network.Heal()
		next := c.leader(c.others(leader)...)
		propose(c, next.log, "the next leader takes this")
		c.stop(leader)
		c.start(leader, false)
		c.converge()
	})
}

// stuck makes the leader hand over to a node that has hung, until it has failed, and returns it. It returns nil if the
// node no longer leads.
func (c *cluster) stuck() *member {
	c.Helper()
	leader := c.leader(c.members...)
	hung := c.others(leader)[0]
	leads := func() bool { return leader.log.Status().Role == trellisv1.NodeRole_NODE_ROLE_LEADER }
	c.network.Partition([]string{leader.address}, []string{hung.address})
	if _, _, err := leader.log.Propose(c.Context(), []byte("the hung node does not have this")); err != nil {
		if leads() {
			c.Fatal(err)
		}
		return nil
	}
	start := time.Now()
	for i := range 2 {
		if err := leader.log.TransferLeadership(c.Context(), hung.address); err == nil {
			if leads() {
				c.Fatal("a node that has hung has taken over")
			}
			return nil
		}
		// The first has ended when the leader takes proposals again.
		until(c.T, "the transfer is given up", func() bool { return i > 0 || !leader.log.takingOver() })
	}
	lost := false
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		_, _, refusal := leader.log.Propose(c.Context(), []byte("refused"))
		select {
		case err := <-leader.log.Failed():
			if took := time.Since(start); took < time.Second {
				c.Errorf("the leader has failed after %v", took)
			}
			if !strings.Contains(err.Error(), "a transfer of the leadership does not end") {
				c.Errorf("the leader has failed, but why: %v", err)
			}
			return leader
		case <-time.After(100 * time.Millisecond):
		}
		// It may lead again, and refuse as much.
		lost = lost || !leads()
		another := func(m *member) bool { return m.log.Verify(c.Context()) == nil }
		if lost && (refusal == nil || slices.ContainsFunc(c.others(leader), another)) {
			return nil
		}
		if !errors.Is(refusal, ErrNotLeader) {
			c.Fatalf("a leader that goes on with the transfer: %v", refusal)
		}
	}
	c.Fatal("the leader refuses everything, and nobody notices")
	return nil
}

// A transfer that fails does no harm: the leader goes on, and does not fail later either.
func TestTransferThatFails(t *testing.T) {
	simulate(t, 3, Config{transferTimeout: 3 * time.Second}, func(c *cluster) {
		leader := c.leader(c.members...)
		hung := c.others(leader)[0]
		c.network.Partition([]string{leader.address}, []string{hung.address})
		propose(c, leader.log, "the hung node does not have this")
		for range 5 {
			transferred := make(chan error)
			go func() { transferred <- leader.log.TransferLeadership(c.Context(), hung.address) }()
			time.Sleep(10 * time.Millisecond)
			if _, _, err := leader.log.Propose(c.Context(), []byte("refused")); !errors.Is(err, ErrNotLeader) {
				c.Fatalf("a leader that is handing over: %v", err)
			}
			if err := <-transferred; err == nil {
				c.Fatal("a node that has hung has taken over")
			}
			c.network.Heal()
			time.Sleep(20 * time.Second)
			c.network.Partition([]string{leader.address}, []string{hung.address})
			propose(c, leader.log, "taken")
		}
		select {
		case err := <-leader.log.Failed():
			c.Errorf("the leader has failed: %v", err)
		default:
		}
	})
}
