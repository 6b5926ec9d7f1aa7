package chaos

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// cluster is three coordinators that replicate one log.
type cluster struct {
	*fleet
	nodes   []*process
	clients []*client
}

// startCluster starts coordinators, each reached under its address, and has them form a cluster.
func (f *fleet) startCluster(nodes []*process) *cluster {
	f.Helper()
	k := &cluster{fleet: f, nodes: nodes}
	for i, node := range nodes {
		if i > 0 {
			node.args = append(node.args, "--join", nodes[0].address)
		}
		k.clients = append(k.clients, f.newClient(node.address))
		node.start()
		k.clients[i].awaitServing(f.T)
	}
	eventually(f.T, func() error {
		if leader, others := k.leader(f.Context()); leader < 0 || others != len(nodes)-1 {
			return fmt.Errorf("node %d leads, %d follow", leader, others)
		}
		return nil
	})
	return k
}

// addresses is what workers are told.
func (k *cluster) addresses() string {
	var all []string
	for _, node := range k.nodes {
		all = append(all, node.address)
	}
	return strings.Join(all, ",")
}

// leader returns which node leads by its own account, -1 if none or several do, and how many others follow one.
func (k *cluster) leader(ctx context.Context) (leader, followers int) {
	leader = -1
	leaders := 0
	for i, c := range k.clients {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		response, err := c.GetCluster(ctx, &trellisv1.GetClusterRequest{})
		cancel()
		if err != nil {
			continue
		}
		switch response.GetStatus().GetRole() {
		case trellisv1.NodeRole_NODE_ROLE_LEADER:
			leader = i
			leaders++
		case trellisv1.NodeRole_NODE_ROLE_FOLLOWER:
			followers++
		}
	}
	if leaders != 1 {
		return -1, followers
	}
	return leader, followers
}

// othersLead says whether a node other than the given one leads by its own account.
func (k *cluster) othersLead(than int) bool {
	for i, c := range k.clients {
		response, err := c.GetCluster(k.Context(), &trellisv1.GetClusterRequest{})
		if i != than && err == nil && response.GetStatus().GetRole() == trellisv1.NodeRole_NODE_ROLE_LEADER {
			return true
		}
	}
	return false
}

// awaitLeader waits until one node leads and all others follow.
func (k *cluster) awaitLeader() (leader int) {
	k.Helper()
	eventually(k.T, func() error {
		var followers int
		if leader, followers = k.leader(k.Context()); leader < 0 || followers != len(k.nodes)-1 {
			return fmt.Errorf("node %d leads and %d follow", leader, followers)
		}
		return nil
	})
	return leader
}

// firstWrite returns how long it takes until one of the coordinators but the given takes a change.
func (k *cluster) firstWrite(dead int) time.Duration {
	k.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	var first sync.Once
	took := time.Duration(-1)
	var all sync.WaitGroup
	for i, c := range k.clients {
		if i == dead {
			continue
		}
		all.Go(func() {
			for c.probe(ctx) != nil {
				if ctx.Err() != nil {
					return
				}
			}
			first.Do(func() {
				took = time.Since(start)
				cancel()
			})
		})
	}
	all.Wait()
	if took < 0 {
		k.Fatalf("no coordinator has taken a change within %v", patience)
	}
	return took
}

// settle waits until every node has applied what the leader has.
func (k *cluster) settle() {
	k.Helper()
	k.awaitLeader()
	eventually(k.T, func() error {
		applied := map[uint64]bool{}
		for _, c := range k.clients {
			response, err := c.GetCluster(k.Context(), &trellisv1.GetClusterRequest{})
			if err != nil {
				return err
			}
			applied[response.GetStatus().GetAppliedIndex()] = true
		}
		if len(applied) > 1 {
			return fmt.Errorf("the nodes have applied different entries: %v", applied)
		}
		return nil
	})
}

// checkEnd checks every study on every node, and that nodes agree.
func (k *cluster) checkEnd(u *users) {
	k.Helper()
	k.settle()
	for _, r := range u.records {
		r.fresh = true
	}
	var specs []*trellisv1.StudySpec
	for i, c := range k.clients {
		k.Logf("%s:", k.nodes[i].name)
		specs = u.checkEnd(c)
	}
	for _, spec := range specs {
		want := trialBytes(k.fleet, k.clients[0], spec.GetName())
		for i, c := range k.clients[1:] {
			if got := trialBytes(k.fleet, c, spec.GetName()); got != want {
				k.Errorf("study %s differs between %s and %s", spec.GetName(), k.nodes[0].name, k.nodes[i+1].name)
			}
		}
	}
}

// The leader of three coordinators is killed again and again under load: changes go on in time, no attempt fails,
// nothing is lost, and all nodes agree in the end.
func TestLeaderKills(t *testing.T) {
	parallel(t)
	random := newRandom(t)
	f := newFleet(t)
	f.secure()
	var nodes []*process
	for n := range 3 {
		nodes = append(nodes, f.newCoordinator(fmt.Sprintf("node-%d", n+1), "--checkpoint-interval", "100ms"))
	}
	k := f.startCluster(nodes)
	for n := range 2 {
		f.newWorker(fmt.Sprintf("worker-%d", n+1), k.addresses(), "--slots", "2").start()
	}
	u := newUsers(f, k.clients...)
	u.calm, u.meddle = true, true
	u.start(random, 3)

	start := time.Now()
	var outages []time.Duration
	kills := count(t, "TRELLIS_CHAOS_KILLS", 4, 10, 200)
	for n := 0; n < kills && !t.Failed(); n++ {
		leader := k.awaitLeader()
		pause(t.Context(), between(random, 0, 500*time.Millisecond))
		nodes[leader].kill()
		outages = append(outages, k.firstWrite(leader))
		nodes[leader].startServing(k.clients[leader])
	}
	t.Logf("%d leaders killed in %v; changes went on after %s", len(outages), time.Since(start).Round(time.Millisecond),
		distribution(outages))
	u.finish()
	k.checkEnd(u)
}

// longestGap does something, and returns the longest time meanwhile in which none of the coordinators took a change.
func (k *cluster) longestGap(do func()) time.Duration {
	ctx, cancel := context.WithCancel(k.Context())
	var mu sync.Mutex
	var longest time.Duration
	last := time.Now()
	var all sync.WaitGroup
	for _, c := range k.clients {
		all.Go(func() {
			for ctx.Err() == nil {
				if c.probe(ctx) == nil {
					mu.Lock()
					longest, last = max(longest, time.Since(last)), time.Now()
					mu.Unlock()
				}
				pause(ctx, 5*time.Millisecond)
			}
		})
	}
	do()
	cancel()
	all.Wait()
	return max(longest, time.Since(last))
}

// Three coordinators are restarted one after the other, as for a new version, the leader at last: no attempt fails,
// nothing is lost, and changes go on meanwhile.
func TestRollingRestart(t *testing.T) {
	parallel(t)
	random := newRandom(t)
	f := newFleet(t)
	f.secure()
	var nodes []*process
	for n := range 3 {
		nodes = append(nodes, f.newCoordinator(fmt.Sprintf("node-%d", n+1)))
	}
	k := f.startCluster(nodes)
	for n := range 2 {
		f.newWorker(fmt.Sprintf("worker-%d", n+1), k.addresses(), "--slots", "2").start()
	}
	u := newUsers(f, k.clients...)
	u.calm, u.meddle = true, true
	u.start(random, 3)

	var gaps []time.Duration
	for range count(t, "TRELLIS_CHAOS_KILLS", 1, 1, 20) {
		leader := k.awaitLeader()
		for i := range 3 {
			node := (leader + 1 + i) % 3
			gaps = append(gaps, k.longestGap(func() {
				nodes[node].stop()
				nodes[node].startServing(k.clients[node])
				k.awaitLeader()
			}))
		}
	}
	t.Logf("while a node was restarted, no change was taken for %s", distribution(gaps))
	u.finish()
	k.checkEnd(u)
}
