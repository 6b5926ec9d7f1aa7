package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// network is a bridge of this machine with a network namespace for each of three coordinators. This machine reaches all
// of them; whether they reach each other is up to the test.
type network struct {
	*fleet
	bridge, subnet string
	namespaces     []string
}

// newNetwork skips the test where namespaces can't be made.
func newNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	if !soak && os.Getenv("TRELLIS_CHAOS_KILLS") == "" {
		t.Skip("partitions are made in the soak, or if TRELLIS_CHAOS_KILLS says how many")
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need the command ip, of the package iproute2")
	}
	id := rand.IntN(250) + 1
	n := &network{bridge: fmt.Sprintf("trellis%d", id), subnet: fmt.Sprintf("10.213.%d.", id)}
	if output, err := exec.Command("ip", "link", "add", n.bridge, "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("a bridge can't be made: %s", output)
	}
	t.Cleanup(func() { ip(t, "link", "delete", n.bridge) })
	ip(t, "address", "add", n.subnet+"254/24", "dev", n.bridge)
	ip(t, "link", "set", n.bridge, "up")
	for i := range nodes {
		name := fmt.Sprintf("%s-%d", n.bridge, i+1)
		inside, outside := fmt.Sprintf("t%di%d", id, i), fmt.Sprintf("t%do%d", id, i)
		ip(t, "netns", "add", name)
		ip(t, "link", "add", outside, "type", "veth", "peer", "name", inside)
		// Connections that are not closed yet keep a namespace, and what is in it, for minutes.
		t.Cleanup(func() {
			ip(t, "link", "delete", outside)
			ip(t, "netns", "delete", name)
		})
		ip(t, "link", "set", outside, "master", n.bridge, "up")
		ip(t, "link", "set", inside, "netns", name)
		ip(t, "-n", name, "address", "add", n.address(i)+"/24", "dev", inside)
		ip(t, "-n", name, "link", "set", inside, "up")
		ip(t, "-n", name, "link", "set", "lo", "up")
		n.namespaces = append(n.namespaces, name)
	}
	// Made last, so that its processes end first.
	n.fleet = newFleet(t)
	return n
}

// ip runs the command ip.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if output, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, output)
	}
}

// address is a node's.
func (n *network) address(node int) string { return fmt.Sprintf("%s%d", n.subnet, node+1) }

// newNode returns a coordinator in a namespace of its own.
func (n *network) newNode(i int) *process {
	address := n.address(i) + ":7070"
	name := fmt.Sprintf("node-%d", i+1)
	data := filepath.Join(n.dir, name+"-data")
	p := n.newProcess(name, "coordinator", "--listen", address, "--insecure", "--data", data, "--checkpoint-interval",
		"100ms")
	p.address, p.data = address, data
	p.wrapped = []string{"ip", "netns", "exec", n.namespaces[i]}
	return p
}

// cut drops all that one node sends to another; mend lets it through again.
func (n *network) cut(from, to int) {
	ip(n.T, "-n", n.namespaces[from], "route", "add", "blackhole", n.address(to)+"/32")
}

func (n *network) mend(from, to int) {
	ip(n.T, "-n", n.namespaces[from], "route", "delete", "blackhole", n.address(to)+"/32")
}

// direction is what one node sends to another.
type direction struct{ from, to int }

// The network between three coordinators is cut, while clients and workers still reach all of them: around the leader
// or around another, in both directions or in one, for long or again and again for moments. No write is acknowledged
// that is lost, every trial has one result, all nodes agree in the end, and after each cut the cluster takes changes
// again.
func TestPartitions(t *testing.T) {
	random := newRandom(t)
	n := newNetwork(t, 3)
	var nodes []*process
	for i := range 3 {
		nodes = append(nodes, n.newNode(i))
	}
	k := n.startCluster(nodes)
	for i := range 2 {
		n.newWorker(fmt.Sprintf("worker-%d", i+1), k.addresses(), "--slots", "2").start()
	}
	u := newUsers(n.fleet, k.clients...)
	u.meddle = true
	u.start(random, 3)

	var outages, heals []time.Duration
	rounds := count(t, "TRELLIS_CHAOS_KILLS", 3, 6, 100)
	kinds := map[string]int{}
	for round := 0; round < rounds && !t.Failed(); round++ {
		leader := k.awaitLeader()
		alone := leader
		around := "leader"
		if random.IntN(3) == 0 {
			alone, around = (leader+1+random.IntN(2))%3, "follower"
		}
		var out, in []direction
		for other := range 3 {
			if other != alone {
				out, in = append(out, direction{alone, other}), append(in, direction{other, alone})
			}
		}
		// Each kind comes round.
		kind := []string{"both ways", "from it", "to it", "half of it", "flapping"}[round%5]
		directions := map[string][]direction{
			"both ways": append(out, in...), "from it": out, "to it": in, "half of it": {out[0], in[0]},
			"flapping": append(out, in...),
		}[kind]
		kinds[around+", "+kind]++
		times, lasting := 1, between(random, 2*time.Second, 5*time.Second)
		if kind == "flapping" {
			times, lasting = 10, between(random, 50*time.Millisecond, 600*time.Millisecond)
		}
		for range times {
			for _, d := range directions {
				n.cut(d.from, d.to)
			}
			if times == 1 {
				outages = append(outages, k.firstWrite(-1))
				if kind == "both ways" && alone == leader && !k.othersLead(leader) {
					t.Errorf("the leader is cut off and nobody else leads: the cut had no effect")
				}
			}
			pause(t.Context(), lasting)
			for _, d := range directions {
				n.mend(d.from, d.to)
			}
			if times > 1 {
				pause(t.Context(), lasting)
			}
		}
		start := time.Now()
		k.firstWrite(-1)
		k.awaitLeader()
		heals = append(heals, time.Since(start))
		u.checkSoon(k.clients)
	}
	t.Logf("%d partitions (%v): during them, changes went on after %s; after them, all nodes were together after %s",
		rounds,
		kinds, distribution(outages), distribution(heals))
	u.finish()
	k.checkEnd(u)
}
