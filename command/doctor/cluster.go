package doctor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// clusterWait is how long a coordinator may take to be reachable, and nodeWait each node.
	clusterWait, nodeWait = 5 * time.Second, 3 * time.Second
	// lateContact is how long a follower may not have heard from the leader, which speaks several times a second.
	lateContact = 5 * time.Second
	// farBehind is how many entries a follower may lack.
	farBehind = 1000
)

// answer is what a node has said.
type answer struct {
	address string
	status  *trellisv1.NodeStatus
	err     error
	clock   clock
}

// checkCluster checks the cluster that the options name.
func checkCluster(ctx context.Context, env *cli.Environment, options *cli.ClientOptions) []finding {
	var findings []finding
	unavailable := func(err error) []finding {
		return append(findings, finding{"cluster", fault, firstLine(exit.Text(err)), ""})
	}
	c, err := options.NewClient(io.Discard)
	if err != nil {
		return unavailable(err)
	}
	defer c.Close()
	findings = append(findings, checkCertificates(ctx, c)...)
	if err := c.Connect(ctx, options.Wait()); err != nil {
		return unavailable(err)
	}
	cluster, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return unavailable(err)
	}
	answers := askNodes(ctx, c, cluster)
	findings = append(findings, checkLeader(cluster.GetNodes(), answers))
	findings = append(findings, checkNodes(answers)...)
	var workers []*trellisv1.Worker
	err = c.EachWorker(ctx, func(worker *trellisv1.Worker) error {
		workers = append(workers, worker)
		return nil
	})
	if err != nil {
		findings = append(findings, finding{"workers", warning, "can't be listed: " + exit.Text(err), ""})
	} else {
		findings = append(findings, checkWorkers(workers)...)
	}
	return append(findings, checkVersions(env.Version, answers, workers))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// askNodes asks each node of a cluster for its own state. One that waits to be added to a cluster knows only itself.
func askNodes(ctx context.Context, c *client.Client, cluster *trellisv1.GetClusterResponse) []answer {
	nodes := cluster.GetNodes()
	if len(nodes) < 2 {
		status, clock, err := askClock(ctx, c)
		return []answer{{address: cluster.GetStatus().GetAddress(), status: status, clock: clock, err: err}}
	}
	answers := make([]answer, len(nodes))
	var asked sync.WaitGroup
	for i, node := range nodes {
		asked.Go(func() { answers[i] = askNode(ctx, c, node) })
	}
	asked.Wait()
	return answers
}

func askNode(ctx context.Context, c *client.Client, node *trellisv1.Node) (a answer) {
	a.address = node.GetAddress()
	one, err := client.New(node.GetAddress(), c.Credentials, io.Discard)
	if err != nil {
		a.err = err
		return a
	}
	defer one.Close()
	if a.err = one.Reach(ctx, nodeWait, true); a.err != nil {
		return a
	}
	a.status, a.clock, a.err = askClock(ctx, one)
	if a.err == nil && a.status.GetId() != node.GetId() {
		a.err = fmt.Errorf("another node responds at its address: %s", a.status.GetId())
	}
	return a
}

// checkLeader is about whether there is a leader, and how many nodes the cluster can lose.
func checkLeader(nodes []*trellisv1.Node, answers []answer) finding {
	f := finding{Check: "cluster", State: fine}
	if len(nodes) == 0 {
		f.State, f.Found = warning, "this node is in no cluster"
		f.Advice = "add it: trellis cluster add " + answers[0].address + " --coordinator NODE"
		return f
	}
	there := 0
	for _, a := range answers {
		if a.err == nil {
			there++
		}
	}
	leader, needed := client.LeaderOf(nodes), len(nodes)/2+1
	f.Found = fmt.Sprintf("%d of %s can be reached, %s leads", there, output.Count(uint64(len(nodes)), "node"), leader)
	switch {
	case leader == "":
		f.State, f.Found = fault, fmt.Sprintf("%d of %s can be reached, and none leads", there, output.Count(uint64(len(nodes)), "node"))
		f.Advice = fmt.Sprintf("start the others: %d are needed, and they must reach one another", needed)
	case there < len(nodes) && there <= needed:
		f.State, f.Advice = warning, "the next node that is lost stops the cluster: start those that can't be reached"
	case len(nodes)%2 == 0:
		f.State = warning
		f.Advice = fmt.Sprintf("an even number tolerates no more losses than %d: add or remove a node", len(nodes)-1)
	}
	return f
}

// checkNodes is about each node: its health, its disk and its clock.
func checkNodes(answers []answer) []finding {
	var findings []finding
	var commit uint64
	for _, a := range answers {
		commit = max(commit, a.status.GetCommitIndex())
	}
	for _, a := range answers {
		if a.err != nil {
			findings = append(findings, finding{
				"node " + a.address, fault, "can't be reached: " + firstLine(exit.Text(a.err)),
				"start it, or look whether a firewall is between; if it is gone for good, trellis cluster remove " + a.address,
			})
			continue
		}
		findings = append(findings, checkNode(a, commit), checkNodeDisk(a))
		if a.status.GetTime() != nil {
			findings = append(findings, a.clock.check("node "+a.address+" clock"))
		}
	}
	return findings
}

func checkNode(a answer, commit uint64) finding {
	s := a.status
	behind := commit - min(commit, s.GetAppliedIndex())
	f := finding{Check: "node " + a.address, State: fine, Found: output.EnumWord(s.GetRole())}
	if s.GetRole() == trellisv1.NodeRole_NODE_ROLE_FOLLOWER {
		f.Found += fmt.Sprintf(", %d entries behind", behind)
	}
	contact := s.GetSinceContact().AsDuration()
	switch {
	case s.GetRole() == trellisv1.NodeRole_NODE_ROLE_CANDIDATE:
		f.State, f.Found = fault, "is not in touch with a leader"
		f.Advice = "look whether it reaches the other nodes at their addresses, and at its log"
	case contact > lateContact:
		f.State, f.Found = fault, "has not heard from the leader for "+output.ShortDuration(contact)
		f.Advice = "look whether it reaches the other nodes at their addresses, and at its log"
	case behind > farBehind:
		f.State, f.Advice = warning, "if this does not shrink, its disk or its network is too slow: run trellis doctor there"
	}
	return f
}

func checkNodeDisk(a answer) finding {
	s := a.status
	f := finding{Check: "node " + a.address + " disk", State: fine}
	f.Found = fmt.Sprintf("%s of %s free", output.ShortBytes(s.GetDiskFree()), output.ShortBytes(s.GetDiskSize()))
	switch {
	case s.GetDiskSize() == 0 && s.GetId() == "":
		f.State, f.Found = warning, "studies are in memory only"
		f.Advice = "start it with --data, or they are lost when it ends"
	case s.GetDiskSize() == 0:
		f.State, f.Found, f.Advice = fault, "what is free can't be read", "look for errors of the disk in the node's log"
	case s.GetDiskLow():
		f.State, f.Advice = fault, "new studies are refused: free disk space there, or trellis prune"
	case s.GetDiskFree() < 2*s.GetDiskReserve():
		f.State, f.Advice = warning, "free disk space there before new studies are refused, or trellis prune"
	}
	return f
}

// checkWorkers is about what is wrong with workers: all of one kind in one line.
func checkWorkers(workers []*trellisv1.Worker) []finding {
	if len(workers) == 0 {
		return []finding{{"workers", warning, "there are none", "start one: trellis worker --coordinator HOST:7070"}}
	}
	var lost, avoided, wrong []string
	ready, gone := 0, 0
	for _, worker := range workers {
		switch worker.GetState() {
		case trellisv1.WorkerState_WORKER_STATE_GONE:
			gone++
			continue
		case trellisv1.WorkerState_WORKER_STATE_LOST:
			lost = append(lost, worker.GetName())
		case trellisv1.WorkerState_WORKER_STATE_READY:
			ready++
		}
		switch {
		case worker.GetWrong() != nil:
			wrong = append(wrong, worker.GetName())
		case len(worker.GetAvoided()) > 0:
			avoided = append(avoided, worker.GetName())
		}
	}
	all := finding{Check: "workers", State: fine, Found: fmt.Sprintf("%d ready, %d lost, %d gone", ready, len(lost), gone)}
	if ready == 0 {
		all.State, all.Advice = warning, "no run can be trained: start a worker"
	}
	findings := []finding{all}
	for _, one := range []struct {
		check  string
		state  state
		names  []string
		advice string
	}{
		{"workers lost", warning, lost, "look at their machines; a scheduler that stops them should send SIGTERM first"},
		{"workers avoided", warning, avoided, "runs fail on them: trellis workers says why"},
		{"workers wrong", fault, wrong, "they reported losses that two others refute: check memory and processor of their machines"},
	} {
		if len(one.names) > 0 {
			findings = append(findings, finding{one.check, one.state, few(one.names), one.advice})
		}
	}
	return findings
}

// few are the first names, and how many more there are.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// checkVersions is about whether nodes and workers, and this binary, have one version.
func checkVersions(own string, answers []answer, workers []*trellisv1.Worker) finding {
	f := finding{Check: "versions", State: fine}
	users := map[string][]string{own: {"this binary"}}
	for _, a := range answers {
		if a.err == nil {
			users[a.status.GetVersion()] = append(users[a.status.GetVersion()], "node "+a.address)
		}
	}
	count := map[string]int{}
	for _, worker := range workers {
		if s := worker.GetState(); s == trellisv1.WorkerState_WORKER_STATE_READY || s == trellisv1.WorkerState_WORKER_STATE_DRAINING {
			count[worker.GetVersion()]++
		}
	}
	for version, number := range count {
		users[version] = append(users[version], output.Count(uint64(number), "worker"))
	}
	versions := slices.SortedFunc(maps.Keys(users), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(users[b]), len(users[a])), cmp.Compare(a, b))
	})
	if len(versions) == 1 {
		f.Found = "all have " + own
		return f
	}
	var texts []string
	for _, version := range versions {
		texts = append(texts, version+": "+few(users[version]))
	}
	f.State, f.Found = warning, strings.Join(texts, "; ")
	f.Advice = "upgrade the older ones: nodes one after the other, then workers"
	return f
}
