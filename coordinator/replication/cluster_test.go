package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"

	"trellis/coordinator/replication/memnet"
)

// member is a node of a simulated cluster. It has a memory or a data directory.
type member struct {
	address string
	memory  *Memory
	dir     string
	// fault and refuse fail the node's writes, and its state machine's restores.
	fault  func(string) error
	refuse error
	state  *book
	log    *Log
}

// cluster is a simulated cluster.
type cluster struct {
	*testing.T
	network *memnet.Network
	members []*member
	config  Config
}

// simulate runs a test on a cluster of so many nodes in memory and in virtual time.
func simulate(t *testing.T, nodes int, config Config, test func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{T: t, network: memnet.New(), config: config}
		for i := range nodes {
			memory := NewMemory(fmt.Sprintf("id%d", i))
			c.members = append(c.members, &member{address: fmt.Sprintf("node%d:7070", i), memory: memory})
		}
		c.run(test)
	})
}

// onDisk runs a test on a cluster of so many nodes with data directories.
func onDisk(t *testing.T, nodes int, config Config, test func(c *cluster)) {
	c := &cluster{T: t, network: memnet.New(), config: config}
	for i := range nodes {
		c.members = append(c.members, &member{address: fmt.Sprintf("node%d:7070", i), dir: t.TempDir()})
	}
	c.run(test)
}

// run starts the cluster and stops it after the test.
func (c *cluster) run(test func(c *cluster)) {
	defer func() {
		c.network.Heal()
		for _, m := range c.members {
			c.stop(m)
		}
	}()
	first := c.members[0]
	c.start(first, true)
	c.leader(first)
	for _, m := range c.members[1:] {
		c.start(m, false)
		c.add(m)
	}
	c.converge()
	test(c)
}

// add adds a node. On a machine that is busy with other tests, another may lead meanwhile.
func (c *cluster) add(m *member) {
	c.Helper()
	for start := time.Now(); ; {
		err := c.leader(c.members...).log.AddNode(c.Context(), m.log.id, m.address)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrNotLeader) || time.Since(start) > time.Minute {
			c.Fatal(err)
		}
	}
}

// start starts a node.
func (c *cluster) start(m *member, bootstrap bool) {
	c.Helper()
	endpoint, err := c.network.Listen(m.address)
	if err != nil {
		c.Fatal(err)
	}
	config := c.config
	config.Memory, config.Dir, config.fault = m.memory, m.dir, m.fault
	config.Address, config.Network, config.Bootstrap = m.address, endpoint, bootstrap
	config.Logger = slog.New(slog.NewTextHandler(c.Output(), nil)).With("at", m.address)
	m.state = &book{refuse: m.refuse}
	if m.log, err = Open(config, m.state); err != nil {
		c.Fatal(err)
	}
}

// stop stops a node, which may pass its leadership on.
func (c *cluster) stop(m *member) {
	if m.log != nil {
		m.log.Close()
		m.log = nil
	}
}

// kill takes a node down without warning.
func (c *cluster) kill(m *member) {
	m.log.stream.Close()
	m.log.stream.sever()
	m.log.shutdown()
	c.stop(m)
}

// leader waits until one of the nodes leads and serves.
func (c *cluster) leader(among ...*member) *member {
	c.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
		for _, m := range among {
			if m.log != nil && m.log.Verify(c.Context()) == nil {
				return m
			}
		}
	}
	c.Fatal("no leader within a minute")
	return nil
}

// others are the members but those.
func (c *cluster) others(but ...*member) []*member {
	return slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return slices.Contains(but, m) })
}

// converge waits until all nodes that run have applied the same.
func (c *cluster) converge() []string {
	c.Helper()
	leader := c.leader(c.members...)
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
		want, same := leader.state.commands(), true
		for _, m := range c.members {
			same = same && (m.log == nil || slices.Equal(m.state.commands(), want) &&
				m.log.raft.AppliedIndex() == leader.log.raft.AppliedIndex())
		}
		if same {
			return want
		}
	}
	c.Fatal("the nodes are not alike after a minute")
	return nil
}

func TestLeaderLoss(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		var acknowledged []string
		for i := range 20 {
			leader := c.leader(c.members...)
			acknowledged = append(acknowledged, number(i))
			propose(c, leader.log, number(i))
			c.kill(leader)
			start := time.Now()
			next := c.leader(c.members...)
			acknowledged = append(acknowledged, number(-i))
			propose(c, next.log, number(-i))
			if took := time.Since(start); took > 3*time.Second {
				c.Errorf("writes went on after %v", took)
			}
			c.start(leader, false)
		}
		if got := c.converge(); !slices.Equal(got, acknowledged) {
			c.Errorf("the nodes have %d commands, not the %d that were acknowledged", len(got), len(acknowledged))
		}
	})
}

func TestFollowersGiveWayToNobodyWithoutNeed(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		term := c.leader(c.members...).log.Status().Term
		time.Sleep(2 * time.Minute)
		if got := c.leader(c.members...).log.Status().Term; got != term {
			c.Errorf("there were %d elections without need", got-term)
		}
	})
}

func TestPartition(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		old := c.leader(c.members...)
		drain(old.log)
		rest := c.others(old)
		c.network.Partition([]string{old.address}, []string{rest[0].address, rest[1].address})
		lost := make(chan error, 1)
		go func() {
			_, _, err := old.log.Propose(c.Context(), []byte("lost"))
			lost <- err
		}()
		next := c.leader(rest...)
		propose(c, next.log, "kept")
		if err := <-lost; err == nil || errors.Is(err, ErrNotLeader) {
			c.Errorf("a proposal that may or may not be applied ended with %v", err)
		}
		if leads := <-old.log.Leadership(); leads {
			c.Error("a leader without a majority was not told")
		}
		if _, _, err := old.log.Propose(c.Context(), []byte("refused")); !errors.Is(err, ErrNotLeader) {
			c.Errorf("a node without a majority answers %v", err)
		}
		if err := old.log.Verify(c.Context()); !errors.Is(err, ErrNotLeader) {
			c.Errorf("a node without a majority verifies that it leads: %v", err)
		}
		c.network.Heal()
		if got := c.converge(); !slices.Equal(got, []string{"kept"}) {
			c.Errorf("after the partition: %q", got)
		}
	})
}

func TestPartitionOneWay(t *testing.T) {
	for _, hears := range []bool{true, false} {
		t.Run(fmt.Sprintf("leader hears %v", hears), func(t *testing.T) {
			simulate(t, 3, Config{}, func(c *cluster) {
				old := c.leader(c.members...)
				rest := c.others(old)
				for _, m := range rest {
					if hears {
						c.network.Cut(old.address, m.address)
					} else {
						c.network.Cut(m.address, old.address)
					}
				}
				ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
				defer cancel()
				if _, _, err := old.log.Propose(ctx, []byte("unanswered")); err == nil {
					c.Error("a leader without answers acknowledges")
				}
				start := time.Now()
				next := c.leader(rest...)
				propose(c, next.log, "kept")
				if took := time.Since(start); took > 15*time.Second {
					c.Errorf("writes went on after %v", took)
				}
				c.network.Heal()
				if got := c.converge(); !slices.Contains(got, "kept") {
					c.Errorf("after the partition: %q", got)
				}
			})
		})
	}
}

// drain takes what Leadership has sent so far.
func drain(l *Log) {
	select {
	case <-l.Leadership():
	default:
	}
}

func TestTransferAddRemove(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		ctx := c.Context()
		old := c.leader(c.members...)
		to := c.others(old)[1]
		propose(c, old.log, "before")
		start := time.Now()
		if err := old.log.TransferLeadership(ctx, to.address); err != nil {
			c.Fatal(err)
		}
		c.leader(to)
		if took := time.Since(start); took > 500*time.Millisecond {
			c.Errorf("a transfer took %v", took)
		}
		propose(c, to.log, "after")
		if err := old.log.AddNode(ctx, "id9", "node9:7070"); !errors.Is(err, ErrNotLeader) {
			c.Errorf("a follower adds a node: %v", err)
		}
		if err := to.log.RemoveNode(ctx, "nobody"); !errors.Is(err, ErrUnknownNode) {
			c.Errorf("remove a node that is not there: %v", err)
		}
		// Raft would refuse it too, but not say what to do.
		if err := to.log.AddNode(ctx, "id9", old.address); err == nil ||
			!strings.Contains(err.Error(), "is already the address of node "+old.log.id) {
			c.Errorf("a node is added under the address of another: %v", err)
		}
		if err := to.log.RemoveNode(ctx, old.log.id); err != nil {
			c.Fatal(err)
		}
		c.stop(old)
		last := c.others(old, to)[0]
		if err := to.log.RemoveNode(ctx, to.address); err != nil {
			c.Fatal(err)
		}
		c.leader(last)
		if err := last.log.RemoveNode(ctx, last.log.id); !errors.Is(err, ErrLastNode) {
			c.Errorf("remove the only node: %v", err)
		}
		propose(c, last.log, "alone")
		if got := last.state.commands(); !slices.Equal(got, []string{"before", "after", "alone"}) {
			c.Errorf("the last node has %q", got)
		}
		nodes, err := last.log.Nodes()
		if err != nil || len(nodes) != 1 || !nodes[0].Leader {
			c.Errorf("nodes: %+v, %v", nodes, err)
		}
	})
}

func TestCloseOfLeaderPassesLeadershipOn(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		for range 3 {
			leader := c.leader(c.members...)
			start := time.Now()
			c.stop(leader)
			c.leader(c.members...)
			if took := time.Since(start); took > 500*time.Millisecond {
				c.Errorf("after an orderly stop the next leader came after %v", took)
			}
			c.start(leader, false)
			c.converge()
		}
	})
}

func TestNewAddress(t *testing.T) {
	simulate(t, 1, Config{}, func(c *cluster) {
		node := c.members[0]
		c.stop(node)
		node.address = "elsewhere:7070"
		c.start(node, true)
		c.leader(node)
		synctest.Wait()
		if nodes, err := node.log.Nodes(); err != nil || len(nodes) != 1 || nodes[0].Address != node.address {
			c.Errorf("nodes: %+v, %v", nodes, err)
		}
		second := &member{address: "second:7070", memory: NewMemory("id1")}
		c.members = append(c.members, second)
		c.start(second, false)
		if err := node.log.AddNode(c.Context(), "id1", second.address); err != nil {
			c.Fatal(err)
		}
		c.converge()
		c.stop(second)
		second.address = "third:7070"
		c.start(second, false)
		// The first does not reach the second any more and steps down; the second can be elected, and says where it is.
		for known := false; !known; time.Sleep(10 * time.Millisecond) {
			nodes, err := c.leader(c.members...).log.Nodes()
			if err != nil {
				c.Fatal(err)
			}
			known = slices.ContainsFunc(nodes, func(n Node) bool { return n.Address == second.address })
		}
		c.converge()
	})
}

func TestLaggingNodeGetsSnapshot(t *testing.T) {
	simulate(t, 3, Config{TrailingEntries: 10, SnapshotEntries: 50}, func(c *cluster) {
		leader := c.leader(c.members...)
		away := c.others(leader)[0]
		c.kill(away)
		for i := range 500 {
			propose(c, leader.log, number(i))
		}
		if err := leader.log.Snapshot(); err != nil {
			c.Fatal(err)
		}
		c.start(away, false)
		if got := c.converge(); len(got) != 500 {
			c.Errorf("%d of 500 commands are there", len(got))
		}
		if got := away.log.Status(); got.SnapshotIndex < 400 || got.Role != trellisv1.NodeRole_NODE_ROLE_FOLLOWER {
			c.Errorf("the node that was away has not been sent a snapshot: %+v", got)
		}
		c.stop(away)
		c.start(away, false)
		if got := c.converge(); len(got) != 500 {
			c.Errorf("%d of 500 commands are there after a restart", len(got))
		}
	})
}

func TestRestoreReplacesAllNodes(t *testing.T) {
	simulate(t, 3, Config{}, func(c *cluster) {
		leader := c.leader(c.members...)
		propose(c, leader.log, "first")
		backup := backupOf(c, leader.log)
		index := propose(c, leader.log, "second")
		if err := leader.log.Restore(c.Context(), backup); err != nil {
			c.Fatal(err)
		}
		if got := c.converge(); !slices.Equal(got, []string{"first"}) {
			c.Errorf("after a restore: %q", got)
		}
		if next := propose(c, c.leader(c.members...).log, "third"); next < index+1_000_000_000 {
			c.Errorf("the log goes on at %d after a restore, which is too near to %d", next, index)
		}
		if got := c.converge(); !slices.Equal(got, []string{"first", "third"}) {
			c.Errorf("after a restore: %q", got)
		}
		follower := c.others(c.leader(c.members...))[0]
		if err := follower.log.Restore(c.Context(), backup); !errors.Is(err, ErrNotLeader) {
			c.Errorf("a follower restores: %v", err)
		}
	})
}

// TestFailedDiskPassesLeadershipOn is a leader whose disk fails or hangs.
func TestFailedDiskPassesLeadershipOn(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs %v", hangs), func(t *testing.T) {
			simulate(t, 3, Config{}, func(c *cluster) {
				old := c.leader(c.members...)
				c.stop(old)
				broken, mended := make(chan struct{}), make(chan struct{})
				old.fault = func(string) error {
					select {
					case <-broken:
					default:
						return nil
					}
					if hangs {
						<-mended
						return nil
					}
					return syscall.EIO
				}
				c.start(old, false)
				c.converge()
				if err := c.leader(c.members...).log.TransferLeadership(c.Context(), old.address); err != nil {
					c.Fatal(err)
				}
				c.leader(old)
				propose(c, old.log, "before")
				close(broken)
				start := time.Now()
				if _, _, err := old.log.Propose(c.Context(), []byte("unknown fate")); err == nil ||
					errors.Is(err, ErrNotLeader) {
					c.Errorf("a proposal on a broken disk ended with %v", err)
				}
				next := c.leader(c.others(old)...)
				propose(c, next.log, "after")
				limit := 3 * time.Second
				if hangs {
					limit += DefaultStallTimeout
				}
				if took := time.Since(start); took > limit {
					c.Errorf("writes went on after %v", took)
				}
				c.Log(<-old.log.Failed())
				term := next.log.Status().Term
				time.Sleep(15 * time.Second)
				if got := next.log.Status().Term; got != term {
					c.Error("the broken node has caused an election")
				}
				failed := old.log
				c.stop(old)
				close(mended)
				if err := failed.shutdown().Error(); err != nil {
					c.Error(err)
				}
				old.fault = nil
				c.start(old, false)
				if got := c.converge(); !slices.Equal(got, []string{"before", "after"}) {
					c.Errorf("the nodes have %q", got)
				}
			})
		})
	}
}

// A node keeps what it has when it gets a snapshot that it can't restore, and takes the next that it can.
func TestNodeRefusesASnapshotThatItCanNotRestore(t *testing.T) {
	simulate(t, 3, Config{TrailingEntries: 10}, func(c *cluster) {
		leader := c.leader(c.members...)
		propose(c, leader.log, "before")
		c.converge()
		away := c.others(leader)[0]
		c.kill(away)
		for i := range 100 {
			propose(c, leader.log, number(i))
		}
		if err := leader.log.Snapshot(); err != nil {
			c.Fatal(err)
		}
		away.refuse = errors.New("too new")
		c.start(away, false)
		time.Sleep(time.Minute) // The clock is synctest's.
		select {
		case err := <-away.log.Failed():
			c.Errorf("the node has failed: %v", err)
		default:
		}
		if got := away.state.commands(); len(got) > 1 {
			c.Errorf("the node has taken %d commands", len(got))
		}
		c.stop(away)
		away.refuse = nil
		c.start(away, false)
		if got := c.converge(); len(got) != 101 {
			c.Errorf("the nodes have %d commands", len(got))
		}
	})
}

// TestThreeNodesOnDisk is what raft-wal has a part in: logs that are replaced by snapshots, cut off, and restored.
func TestThreeNodesOnDisk(t *testing.T) {
	t.Parallel()
	onDisk(t, 3, Config{TrailingEntries: 10}, func(c *cluster) {
		leader := c.leader(c.members...)
		propose(c, leader.log, "first")
		backup := backupOf(c, leader.log)
		away := c.others(leader)[0]
		c.kill(away)
		for i := range 100 {
			propose(c, leader.log, number(i))
		}
		if err := leader.log.Snapshot(); err != nil {
			c.Fatal(err)
		}
		c.start(away, false)
		if got := c.converge(); len(got) != 101 {
			c.Errorf("%d of 101 commands are there", len(got))
		}
		// A leader without a majority appends what the others do not have; when it comes back that is cut off.
		leader = c.leader(c.members...)
		rest := c.others(leader)
		c.network.Partition([]string{leader.address}, []string{rest[0].address, rest[1].address})
		if _, _, err := leader.log.Propose(c.Context(), []byte("lost")); err == nil {
			c.Error("a leader without a majority acknowledges")
		}
		propose(c, c.leader(rest...).log, "kept")
		c.network.Heal()
		if got := c.converge(); len(got) != 102 || got[101] != "kept" {
			c.Errorf("%d of 102 commands are there", len(got))
		}
		if err := c.leader(c.members...).log.Restore(c.Context(), backup); err != nil {
			c.Fatal(err)
		}
		propose(c, c.leader(c.members...).log, "last")
		c.converge()
		for _, m := range c.members {
			c.stop(m)
		}
		for _, m := range c.members {
			c.start(m, false)
		}
		if got := c.converge(); !slices.Equal(got, []string{"first", "last"}) {
			c.Errorf("after a restore and a restart: %q", got)
		}
	})
}
