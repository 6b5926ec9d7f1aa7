package coordinator

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// awaitMembers waits until all of the nodes are ready and have that many members.
func (c *cluster) awaitMembers(members int, addresses ...string) {
	c.Helper()
	c.await("all nodes are ready and members", func() bool {
		for _, address := range addresses {
			n := c.nodes[address]
			if !n.view.Load().ready || len(n.cluster().GetNodes()) != members {
				return false
			}
		}
		return true
	})
}

// Nodes that are started with the same list, in any order, form one cluster: the one with the lowest address does, once all
// others are there.
func TestNodesWithOneListFormACluster(t *testing.T) {
	simulate(t, func(c *cluster) {
		c.start("three:1", Config{Join: []string{"three:1", "one:1", "two:1"}})
		c.start("one:1", Config{Join: []string{"one:1", "two:1", "three:1"}})
		time.Sleep(time.Minute) // The clock is synctest's.
		for _, n := range c.nodes {
			if members := n.cluster().GetNodes(); len(members) != 0 {
				t.Fatalf("%s has formed a cluster without the node that has not answered: %v", n.address, members)
			}
		}
		c.start("two:1", Config{Join: []string{"two:1", "one:1", "three:1"}})
		c.awaitMembers(3, "one:1", "two:1", "three:1")
		if !c.nodes["one:1"].leader.Leads() {
			t.Error("the lowest address does not lead the cluster that it has formed")
		}
	})
}

// Nodes that are started together, each with itself first in its list, form one cluster.
func TestNodesThatNameThemselvesFirstFormOneCluster(t *testing.T) {
	simulate(t, func(c *cluster) {
		c.start("one:1", Config{Join: []string{"one:1", "two:1", "three:1"}})
		c.start("two:1", Config{Join: []string{"two:1", "one:1", "three:1"}})
		c.start("three:1", Config{Join: []string{"three:1", "one:1", "two:1"}})
		c.awaitMembers(3, "one:1", "two:1", "three:1")
	})
}

// Nodes whose lists differ say which node has which list, and what would be right. They form no cluster, until the
// lists are the same.
func TestNodesWithDifferentListsSaySo(t *testing.T) {
	simulate(t, func(c *cluster) {
		said := map[string]*lockedBuffer{}
		lists := map[string][]string{
			"one:1": {"one:1", "two:1"}, "two:1": {"three:1", "two:1", "one:1", "two:1"}, "three:1": {"two:1", "three:1"},
		}
		for address, list := range lists {
			said[address] = &lockedBuffer{}
			c.start(address, Config{Join: list, Logger: slog.New(slog.NewTextHandler(said[address], nil))})
		}
		time.Sleep(time.Minute)
		for address, n := range c.nodes {
			if members := n.cluster().GetNodes(); len(members) != 0 {
				t.Errorf("%s is in the cluster %v", address, members)
			}
		}
		for address, parts := range map[string][]string{
			"one:1": {
				"two:1: in no cluster, with --join=one:1,three:1,two:1", "this one has --join=one:1,two:1:",
				"such as --join=one:1,three:1,two:1",
			},
			"two:1": {
				"one:1: in no cluster, with --join=one:1,two:1;", "three:1: in no cluster, with --join=three:1,two:1;",
				"this one has --join=one:1,three:1,two:1:",
			},
			"three:1": {"this one has --join=three:1,two:1:", "such as --join=one:1,three:1,two:1"},
		} {
			for _, part := range parts {
				if !strings.Contains(said[address].String(), part) {
					t.Errorf("%s does not say %q: %s", address, part, said[address])
				}
			}
		}
		for address, n := range c.nodes {
			n.stop()
			c.start(address, Config{Join: lists["two:1"]})
		}
		c.awaitMembers(3, "one:1", "two:1", "three:1")
	})
}

// A node that does not say its list, as one that waits to be added or is of an older version, keeps others from forming
// a cluster with it.
func TestANodeWithoutAListIsNotCountedOn(t *testing.T) {
	simulate(t, func(c *cluster) {
		said := &lockedBuffer{}
		one := c.start("one:1", Config{Join: []string{"one:1", "two:1"}, Logger: slog.New(slog.NewTextHandler(said, nil))})
		c.start("two:1", Config{Wait: true})
		time.Sleep(time.Minute)
		if members := one.cluster().GetNodes(); len(members) != 0 {
			t.Errorf("one is in the cluster %v", members)
		}
		if want := "two:1: in no cluster, and it does not say which --join it has"; !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q: %s", want, said)
		}
	})
}

var formingSeed = flag.Uint64("forming.seed", 0, "the only seed of TestNodesNeverFormTwoClusters, if not 0")

// Whatever the lists of nodes are, in which order they start, and how often: a cluster is formed only by a list that
// all of its nodes have, and by one node.
func TestNodesNeverFormTwoClusters(t *testing.T) {
	seeds := []uint64{*formingSeed}
	if *formingSeed == 0 {
		seeds = []uint64{rand.Uint64(), rand.Uint64(), rand.Uint64()}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("forming.seed=%d", seed), func(t *testing.T) { formAtRandom(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

// formAtRandom starts nodes with lists that may differ, and looks at what they form.
func formAtRandom(t *testing.T, random *rand.Rand) {
	all := []string{"five:1", "four:1", "one:1", "three:1", "two:1"}[random.IntN(3):]
	lists := map[string][]string{}
	wrong := random.Float64()
	for _, address := range all {
		list := slices.Clone(all)
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if random.Float64() < wrong {
			list = list[:1+random.IntN(len(list))]
		}
		if random.Float64() < wrong/8 {
			list = append(list, "nobody:1")
		}
		lists[address] = list
	}
	// Lists that all of their nodes have. Each may be a cluster that was meant to be.
	closed := map[string]bool{}
	for _, list := range lists {
		if slices.ContainsFunc(list, func(other string) bool {
			return !slices.Equal(slices.Sorted(slices.Values(lists[other])), slices.Sorted(slices.Values(list)))
		}) {
			continue
		}
		closed[strings.Join(slices.Sorted(slices.Values(list)), ",")] = true
	}
	t.Logf("lists: %v, of which can be clusters: %v", lists, slices.Sorted(maps.Keys(closed)))
	simulate(t, func(c *cluster) {
		said := &lockedBuffer{}
		logger := slog.New(slog.NewTextHandler(said, nil))
		start := func(address string) { c.start(address, Config{Join: lists[address], Logger: logger}) }
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, address := range all {
			start(address)
			time.Sleep(time.Duration(random.IntN(3)) * 10 * time.Second)
			if random.IntN(3) == 0 { // What it has in memory is its disk.
				c.nodes[address].stop()
				time.Sleep(time.Duration(random.IntN(10)) * time.Second)
				start(address)
			}
		}
		time.Sleep(3 * time.Minute)
		formed := strings.Count(said.String(), "has formed the cluster")
		if formed != len(closed) {
			t.Errorf("%d clusters were formed, want %d:\n%s", formed, len(closed), said)
		}
		// Each is that of a list, and nobody is in two.
		in := map[string]string{}
		for list := range closed {
			first, _, _ := strings.Cut(list, ",")
			for _, member := range c.nodes[first].cluster().GetNodes() {
				if other, twice := in[member.GetAddress()]; twice {
					t.Errorf("%s is in the clusters of %s and of %s", member.GetAddress(), other, list)
				}
				in[member.GetAddress()] = list
			}
			for _, address := range strings.Split(list, ",") {
				if in[address] != list {
					t.Errorf("%s is not in the cluster of %s", address, list)
				}
			}
		}
		if len(closed) == 1 && len(strings.Split(slices.Collect(maps.Keys(closed))[0], ",")) == len(all) {
			c.awaitMembers(len(all), all...)
		}
	})
}

// A node that --join names otherwise than it advertises itself says so, and forms no cluster.
func TestANodeThatJoinNamesOtherwiseSaysSo(t *testing.T) {
	simulate(t, func(c *cluster) {
		said := &lockedBuffer{}
		c.start("vm1:1", Config{
			Join:   []string{"localhost:1", "vm2:1"},
			Logger: slog.New(slog.NewTextHandler(said, nil)),
		})
		time.Sleep(time.Minute)
		if members := c.nodes["vm1:1"].cluster().GetNodes(); len(members) != 0 {
			t.Errorf("it has formed a cluster: %v", members)
		}
		for _, part := range []string{"localhost:1: this is the node itself", "know as vm1:1", "--advertise to localhost:1"} {
			if !strings.Contains(said.String(), part) {
				t.Errorf("it does not say %q: %s", part, said)
			}
		}
	})
}

// The node with the lowest address comes back without its data. It must not form a second cluster, even if the others are down.
func TestTheFirstNodeThatLosesItsDataJoins(t *testing.T) {
	simulate(t, func(c *cluster) {
		all := Config{Join: []string{"one:1", "two:1", "three:1"}}
		for _, address := range all.Join {
			c.start(address, all)
		}
		c.awaitMembers(3, all.Join...)
		c.nodes["one:1"].create(syntheticSpec("kept", []uint32{4}, []uint32{3}))
		for _, address := range all.Join {
			c.nodes[address].stop()
		}
		delete(c.nodes, "one:1")
		lost := c.startAs("one:1", "another", all)
		time.Sleep(time.Minute)
		if members := lost.cluster().GetNodes(); len(members) != 0 {
			t.Fatalf("a node without its data has formed a second cluster: %v", members)
		}
		lost.stop()
		two := c.start("two:1", all)
		c.start("three:1", all)
		c.await("the others have removed the node that was there before", func() bool {
			_, err := two.manager.RemoveNode(c.ctx, &trellisv1.RemoveNodeRequest{Node: "id-one"})
			return err == nil
		})
		lost = c.start("one:1", all)
		c.awaitMembers(3, all.Join...)
		for _, n := range lost.cluster().GetNodes() {
			if n.GetAddress() == "one:1" && n.GetId() != "another" {
				t.Errorf("the cluster has the node %v, want another", n)
			}
		}
		if name := lost.study("kept").GetSpec().GetName(); name != "kept" {
			t.Errorf("the node that lost its data has the study %q, want kept", name)
		}
	})
}

// What two of three nodes have acknowledged survives when one of the two comes back without its data: it does not help the
// third, which is behind, to lead.
func TestANodeThatLosesItsDataDoesNotElectOneThatIsBehind(t *testing.T) {
	simulate(t, func(c *cluster) {
		all := Config{Join: []string{"one:1", "two:1", "three:1"}}
		for _, address := range all.Join {
			c.start(address, all)
		}
		c.awaitMembers(3, all.Join...)
		c.nodes["three:1"].stop()
		c.nodes["one:1"].create(syntheticSpec("kept", []uint32{4}, []uint32{3}))
		c.nodes["one:1"].stop()
		c.nodes["two:1"].stop()
		delete(c.nodes, "one:1")
		c.startAs("one:1", "another", all)
		time.Sleep(time.Minute)
		three := c.start("three:1", all)
		time.Sleep(time.Minute)
		if three.leader.Leads() {
			t.Fatal("the node that is behind leads by the vote of one that has lost its data")
		}
		two := c.start("two:1", all)
		c.await("the node with all data leads", func() bool { return two.leader.Leads() && three.view.Load().ready })
		for _, n := range []*node{two, three} {
			if name := n.study("kept").GetSpec().GetName(); name != "kept" {
				t.Errorf("%s has the study %q, want kept", n.address, name)
			}
		}
	})
}
