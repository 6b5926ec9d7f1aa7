package replication

import (
	"context"
	"testing"
	"time"
)

// A node that has lost its data is back at its address as another. It must neither vote nor acknowledge in the name of the one
// that it was: what only that one and a node that is down have acknowledged would be lost.
func TestANodeThatLostItsDataIsNotTakenForTheOldOne(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		leader := c.leader(c.members...)
		lost, other := c.others(leader)[0], c.others(leader)[1]
		propose(c, leader.log, "kept")
		old := lost.log.id
		c.kill(lost)
		lost.memory = NewMemory("another")
		c.start(lost, false)
		propose(c, leader.log, "by two")
		time.Sleep(time.Minute)
		if status := lost.log.Status(); status.LastIndex != 0 || status.Term != 0 || status.LeaderID != "" {
			t.Errorf("a node that nobody has added has taken part: %+v", status)
		}
		// Two of three have what was acknowledged. Without one of them there is no majority.
		c.kill(other)
		ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
		defer cancel()
		if _, _, err := leader.log.Propose(ctx, []byte("by one")); err == nil {
			t.Error("acknowledged without a majority")
		}
		c.start(other, false)
		if err := c.leader(c.members...).log.RemoveNode(c.Context(), old); err != nil {
			t.Fatal(err)
		}
		c.add(lost)
		if got := c.converge(); len(got) < 2 || got[0] != "kept" || got[1] != "by two" {
			t.Errorf("after it was added, the nodes have %q", got)
		}
	})
}
