package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

// nodeState is what cluster status -o json says of a node.
type nodeState struct {
	Address, Role string
	Lag           uint64
}

// statePause is how often the state of a cluster is asked for while something is waited for.
const statePause = 50 * time.Millisecond

// nodes are coordinators that replicate one log.
type nodes struct {
	addresses []string
	processes []*process
	args      [][]string
}

// startNodes starts a cluster of three, whose nodes share a folder of artifacts.
func startNodes(t *testing.T) *nodes {
	t.Helper()
	n := new(nodes)
	artifacts := t.TempDir()
	for i := range 3 {
		args := []string{"--data", filepath.Join(t.TempDir(), "data"), "--artifacts", artifacts}
		if i > 0 {
			args = append(args, "--join", strings.Join(n.addresses, ","))
		}
		p, address := startCoordinator(t, args...)
		n.addresses, n.processes, n.args = append(n.addresses, address), append(n.processes, p), append(n.args, args)
	}
	n.await(t, func(rows []nodeState) bool { return len(rows) == 3 && healthy(rows) })
	return n
}

// healthy says whether one node leads and all others have what it has.
func healthy(rows []nodeState) bool { return within(rows, 0) }

// within says whether one node leads and all others follow it, not more than so many entries behind.
func within(rows []nodeState, lag uint64) bool {
	leaders := 0
	for _, row := range rows {
		if row.Role == "leader" {
			leaders++
		} else if row.Role != "follower" || row.Lag > lag {
			return false
		}
	}
	return leaders == 1
}

// all is what --coordinator is given.
func (n *nodes) all() string { return strings.Join(n.addresses, ",") }

// await asks for the cluster's state until it satisfies the condition. The test's deadline ends it else.
func (n *nodes) await(t *testing.T, satisfied func([]nodeState) bool) []nodeState {
	t.Helper()
	for {
		var state struct{ Nodes []nodeState }
		text := mustTrellis(t, "cluster", "status", "--coordinator", n.all(), "-o", "json")
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		if satisfied(state.Nodes) {
			return state.Nodes
		}
		select {
		case <-time.After(statePause):
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
}

// leader returns which node leads.
func (n *nodes) leader(t *testing.T) int {
	t.Helper()
	leads := func(row nodeState) bool { return row.Role == "leader" }
	rows := n.await(t, func(rows []nodeState) bool { return slices.ContainsFunc(rows, leads) })
	return slices.Index(n.addresses, rows[slices.IndexFunc(rows, leads)].Address)
}

// restart starts a node that has ended, where it was.
func (n *nodes) restart(t *testing.T, i int) {
	t.Helper()
	args := append([]string{"coordinator", "--listen", n.addresses[i]}, n.args[i]...)
	n.processes[i], _ = start(t, `^Studies are in \S+ \(existing\)\.$`, args...)
}

// The leader of three is killed in the middle of a study: nothing but its death is to be seen of it. The study ends
// with the same bytes as one that was left alone, and what the dead node missed it gets when it comes back.
func TestKilledLeader(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	n := startNodes(t)
	spec := writeSpec(t, longStudy)
	mustTrellis(t, "submit", "--coordinator", n.all(), spec)
	watch, _ := start(t, `study long is running`, "watch", "--coordinator", n.all(), "long")
	startWorker(t, n.all(), "first")
	startWorker(t, n.all(), "second")
	awaitEpochs(t, connect(t, n.all()), "long", 30)
	dead := n.leader(t)
	n.processes[dead].signal(t, syscall.SIGKILL)
	mustTrellis(t, "submit", "--coordinator", n.all(), writeSpec(t, endlessStudy))
	mustTrellis(t, "cancel", "--coordinator", n.all(), "endless")
	if code := watch.wait(t); code != exit.OK || strings.Contains(watch.said(), "trellis: ") {
		t.Errorf("watch: exit code %d: %s", code, watch.said())
	}
	got := mustTrellis(t, "trials", "--coordinator", n.all(), "long", "-o", "json")
	if want := undisturbed(t, spec); got != want {
		t.Errorf("undisturbed:\n%s\nwith a leader that was killed:\n%s", want, got)
	}
	var stdout, stderr string
	// Another may not respond either for a moment.
	for deadline := time.Now().Add(patience); !strings.Contains(stderr, "1 of them does not respond"); {
		if time.Now().After(deadline) {
			t.Fatalf("status says\n%s%s", stdout, stderr)
		}
		stdout, stderr, _ = trellis(t, "cluster", "status", "--coordinator", n.all())
	}
	if !strings.Contains(stdout, n.addresses[dead]+"  unreachable") {
		t.Errorf("status says\n%s%s", stdout, stderr)
	}
	n.restart(t, dead)
	n.await(t, healthy)
	if again := mustTrellis(t, "trials", "--coordinator", n.addresses[dead], "long", "-o", "json"); again != got {
		t.Errorf("the node that was killed has\n%s\nthe others\n%s", again, got)
	}
}

// Three nodes are restarted one after the other while a study runs: its runs go on by the same attempts, and a watch
// notices nothing.
func TestRollingRestart(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	n := startNodes(t)
	startWorker(t, n.all(), "worker", "--slots", "2")
	mustTrellis(t, "submit", "--coordinator", n.all(), writeSpec(t, endlessStudy))
	watch, _ := start(t, `study endless is running`, "watch", "--coordinator", n.all(), "endless")
	// under waits until both runs have come further than that, and returns their attempts and how far they have come.
	under := func(epochs uint64) (attempts string, now uint64) {
		runs := make(map[string]*trellisv1.Run)
		watchUntil(t, connect(t, n.all()), "endless", func(response *trellisv1.WatchStudyResponse) bool {
			for _, run := range response.GetRuns() {
				runs[run.GetId()] = run
			}
			now = response.GetStudy().GetProgress().GetEpochs()
			return response.GetStudy().GetProgress().GetRunsRunning() == 2 && now > epochs
		})
		for _, id := range slices.Sorted(maps.Keys(runs)) {
			attempts += fmt.Sprintf("%s by %d, with %d failures\n", id, runs[id].GetAttempt(),
				len(runs[id].GetFailures()))
		}
		return attempts, now
	}
	before, epochs := under(5)
	for i := range n.addresses {
		n.processes[i].stop(t)
		n.restart(t, i)
		// While the study reports, a follower that is asked a moment later than the leader seems to be behind.
		n.await(t, func(rows []nodeState) bool { return within(rows, 100) })
		var after string
		if after, epochs = under(epochs + 5); after != before {
			t.Errorf("the runs were\n%s\nand after the restart of node %d\n%s", before, i+1, after)
		}
	}
	mustTrellis(t, "cancel", "--coordinator", n.all(), "endless")
	if code := watch.wait(t); code != exit.Incomplete || strings.Contains(watch.said(), "no coordinator") {
		t.Errorf("watch: exit code %d: %s", code, watch.said())
	}
}

// A node is added by hand, is made the leader, and is taken out again.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	_, first := startCoordinator(t, "--data", t.TempDir())
	_, second := startCoordinator(t, "--data", t.TempDir(), "--wait-to-be-added")
	stdout, stderr, _ := trellis(t, "cluster", "status", "--coordinator", second)
	if !strings.Contains(stdout, second+"  waiting") ||
		!strings.Contains(stderr, "cluster add "+second+" --coordinator NODE") {
		t.Errorf("a node that waits says\n%s%s", stdout, stderr)
	}
	if _, stderr, code := trellis(t, "cluster", "transfer", "--coordinator", first); code != exit.Error ||
		!strings.Contains(stderr, "the cluster has only one node") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if out := mustTrellis(t, "cluster", "add", second, "--coordinator", first); !strings.Contains(out,
		"The cluster has 2 nodes") {
		t.Errorf("add says %s", out)
	}
	n := &nodes{addresses: []string{first, second}}
	n.await(t, healthy)
	if out := mustTrellis(t, "cluster", "transfer", second, "--coordinator",
		first); out != fmt.Sprintf("The leader is %s.\n", second) {
		t.Errorf("transfer says %s", out)
	}
	n.await(t, healthy)
	if out := mustTrellis(t, "cluster", "remove", first, "--coordinator", second); !strings.Contains(out,
		"The cluster has one node") {
		t.Errorf("remove says %s", out)
	}
	if _, stderr, code := trellis(t, "cluster", "remove", "nosuch", "--coordinator", second); code != exit.NotFound ||
		!strings.Contains(stderr, "nosuch") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	_, third := startCoordinator(t, "--in-memory")
	if _, stderr, code := trellis(t, "cluster", "remove", third, "--coordinator", third); code != exit.Error ||
		!strings.Contains(stderr, "in memory") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	_, stderr, code := trellis(t, "cluster", "status", "--coordinator", third)
	if code != exit.OK || !strings.Contains(stderr, "in memory only") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
