package coordinator

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trellis/coordinator/replication/memnet"
	trellisv1 "trellis/proto/trellis/v1"
)

// The simulation runs three coordinators with everything but their disks and their network, workers that follow
// worker/DESIGN.md, and clients, in virtual time, while nodes crash, disks hang, links are cut and workers come and go.
// It checks what is promised all along, and the rest when all faults are over:
//
//   - what clients and workers are told is what the log has (journal),
//   - no entry of an attempt is accepted once the attempt has ended (journal),
//   - no run is trained for two studies at once, unless one of them is fresh (journal),
//   - what clients write, and what a leader answers, is linearizable (study model),
//   - what any node answers is a state that was, and never an earlier one than before,
//   - all studies end, with one result per trial, the one that the closed form of the losses gives,
//   - all nodes have the same state.
//
// A seed gives the faults with their times, and what clients and workers draw. It does not give the order in which
// goroutines run, so that the same seed may go differently.

var (
	simulationSeeds = flag.Int("simulation.seeds", defaultSimulations, "how many seeds TestSimulation simulates")
	simulationSeed  = flag.Uint64("simulation.seed", 1, "the first of TestSimulation's seeds")
	simulationLog   = flag.Bool("simulation.log", false, "print what the simulated coordinators log")
)

// simulationSize says how much is simulated.
type simulationSize struct {
	workers, clients int
	// faults is for how long there are faults, and pause how long there is none between two, on average.
	faults, pause time.Duration
}

const (
	// simulationPatience is how long everything may take to come right once there are no more faults.
	simulationPatience = 20 * time.Minute
	// simulationLease is the workers' lease.
	simulationLease = 10 * time.Second
)

func TestSimulation(t *testing.T) {
	seeds := *simulationSeeds
	if testing.Short() {
		seeds = min(seeds, 1)
	}
	for i := range seeds {
		seed := *simulationSeed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { simulateFaults(t, seed, simulated) })
	}
}

// simulateFaults runs one simulation.
func simulateFaults(t *testing.T, seed uint64, size simulationSize) {
	began := time.Now()
	var s *simulation
	var took time.Duration
	defer func() {
		t.Logf("seed %d: %v simulated in %v: %s", seed, took.Round(time.Second),
			time.Since(began).Round(time.Millisecond), s.summary())
		if t.Failed() {
			t.Logf("again: go test ./coordinator -run TestSimulation -simulation.seed %d -simulation.seeds 1 "+
				"-simulation.log", seed)
			t.Log("faults:\n" + strings.Join(s.events, "\n"))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s = newSimulation(t, seed, size)
		began := time.Now()
		defer func() { took = time.Since(began) }()
		defer s.close()
		if s.boot() {
			s.run()
			if s.settle() {
				s.verify()
			}
		}
	})
	s.history.check(t)
}

// simulation is one simulated cluster with its workers and clients.
type simulation struct {
	*testing.T
	seed    uint64
	size    simulationSize
	began   time.Time
	logger  *slog.Logger
	network *memnet.Network
	journal *journal
	history *history
	nodes   []*simulatedNode
	workers []*simulatedMachine

	// ctx ends with the simulation, working with the workers' lives, and asking with the clients'.
	ctx               context.Context
	end               context.CancelFunc
	working, asking   context.Context
	endWork, endAsk   context.CancelFunc
	machines, clients sync.WaitGroup
	// under has the faults that go on.
	under sync.WaitGroup

	// creating has an element while a client creates a study: see simulatedClient.create.
	creating chan struct{}
	// answers counts what was checked as it came.
	reads, leaderReads, trials, untested, acknowledgements, checkpoints atomic.Int64

	mu     sync.Mutex
	links  map[[2]string]int
	events []string
	counts map[string]int
	// failed has the runs of which an attempt has failed or hung: one each, so that budgets are not used up.
	failed map[string]bool
}

func newSimulation(t *testing.T, seed uint64, size simulationSize) *simulation {
	s := &simulation{
		T: t, seed: seed, size: size, began: time.Now(), logger: slog.New(slog.DiscardHandler), network: memnet.New(),
		history: &history{}, creating: make(chan struct{}, 1),
		links: map[[2]string]int{}, counts: map[string]int{}, failed: map[string]bool{},
	}
	if *simulationLog {
		s.logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	s.journal = newJournal(s)
	s.ctx, s.end = context.WithCancel(context.Background())
	s.working, s.endWork = context.WithCancel(s.ctx)
	s.asking, s.endAsk = context.WithCancel(s.ctx)
	for i := range 3 {
		s.nodes = append(s.nodes, newSimulatedNode(s, i))
	}
	for i := range size.workers {
		s.workers = append(s.workers, &simulatedMachine{s: s, number: i, faults: make(chan workerFault, 8)})
	}
	return s
}

// random is a stream of random numbers of its own for each purpose.
func (s *simulation) random(purpose string, number int) *rand.Rand {
	stream := uint64(number)
	for _, c := range purpose {
		stream = stream*1099511628211 + uint64(c)
	}
	return rand.New(rand.NewPCG(s.seed, stream))
}

// event notes what happens for who has to find out why a simulation failed.
func (s *simulation) event(kind, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[kind]++
	s.events = append(s.events, fmt.Sprintf("%9.3fs %s %s", time.Since(s.began).Seconds(), kind,
		fmt.Sprintf(format, args...)))
	s.logger.Warn("FAULT "+kind, "what", fmt.Sprintf(format, args...))
}

// wrong notes that a promise was broken.
func (s *simulation) wrong(format string, args ...any) {
	s.Errorf("at %.3fs: %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *simulation) summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []string
	for kind, count := range s.counts {
		faults = append(faults, fmt.Sprintf("%s %d", kind, count))
	}
	slices.Sort(faults)
	return fmt.Sprintf("%s; %d reads, %d of them the leader's; %d trials read, %d of them answered without a test "+
		"loss, %d acknowledgements, %d checkpoints taken up; %s; faults: %s",
		s.journal.summary(), s.reads.Load(), s.leaderReads.Load(), s.trials.Load(), s.untested.Load(),
		s.acknowledgements.Load(), s.checkpoints.Load(),
		s.history.summary(), strings.Join(faults, ", "))
}

// await waits until the condition holds, and says whether that came in time.
func (s *simulation) await(what string, limit time.Duration, condition func() bool) bool {
	for began := time.Now(); !condition(); {
		if time.Since(began) > limit {
			s.wrong("waited for %v, and not yet: %s", limit, what)
			return false
		}
		s.sleep(50 * time.Millisecond)
	}
	return true
}

// sleep waits on synctest's clock.
func (s *simulation) sleep(d time.Duration) { sleepUntil(s.ctx, d) }

// sleepUntil returns early when ctx is done, and says whether it did not.
func sleepUntil(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// boot starts the nodes and waits until they are a cluster.
func (s *simulation) boot() bool {
	for _, n := range s.nodes {
		n.start()
	}
	return s.await("three nodes are ready", time.Minute, func() bool {
		for _, n := range s.nodes {
			life := n.life.Load()
			if life == nil || !life.coordinator.view.Load().ready || len(life.members()) != 3 {
				return false
			}
		}
		return true
	})
}

// run lets workers work, clients ask and faults happen.
func (s *simulation) run() {
	for _, machine := range s.workers {
		s.machines.Go(machine.run)
	}
	for i := range s.size.clients {
		client := newSimulatedClient(s, i)
		s.clients.Go(client.run)
	}
	s.injectFaults()
	s.endAsk()
	s.clients.Wait()
}

// settle waits until everything has come right again.
func (s *simulation) settle() bool {
	s.under.Wait()
	s.event("quiet", "no more faults")
	if !s.await("a leader and three members", time.Minute, s.mendCluster) {
		return false
	}
	client := newSimulatedClient(s, s.size.clients)
	defer client.close()
	return s.await("all studies end", simulationPatience, func() bool { return client.finish(s.ctx) }) &&
		s.await("workers that have died are lost", time.Minute, s.knowsWorkers)
}

// knowsWorkers says whether no more workers are thought to live than there are machines.
func (s *simulation) knowsWorkers() bool {
	leader := s.leader()
	if leader == nil {
		return false
	}
	workers, err := leader.coordinator.store.Snapshot().Workers(nil)
	if err != nil {
		s.wrong("list the workers: %v", err)
	}
	live := 0
	for _, worker := range workers {
		switch worker.GetState() {
		case trellisv1.WorkerState_WORKER_STATE_READY, trellisv1.WorkerState_WORKER_STATE_DRAINING:
			live++
		}
	}
	return live <= len(s.workers)
}

// mendCluster adds nodes that were removed and not added again, and says whether all are members and up to date.
func (s *simulation) mendCluster() bool {
	leader := s.leader()
	if leader == nil {
		return false
	}
	members := leader.members()
	for _, n := range s.nodes {
		life := n.life.Load()
		if life == nil || !life.isOpen() {
			return false
		}
		if members[life.id] != n.address {
			ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
			if err := leader.coordinator.replicated.AddNode(ctx, life.id, n.address); err != nil {
				s.event("mend", "add %s again: %v", n.address, err)
			}
			cancel()
			return false
		}
	}
	return len(members) == len(s.nodes)
}

// leader is the node that leads in the highest term, if there is one.
func (s *simulation) leader() (leader *nodeLife) {
	highest := uint64(0)
	for _, n := range s.nodes {
		life := n.life.Load()
		if life == nil || !life.isOpen() || !life.coordinator.leader.Leads() {
			continue
		}
		if term := life.coordinator.replicated.Status().Term; term > highest {
			leader, highest = life, term
		}
	}
	return leader
}

// close ends everything, in order.
func (s *simulation) close() {
	s.endAsk()
	s.clients.Wait()
	s.endWork()
	s.machines.Wait()
	s.end()
	s.under.Wait()
	s.mu.Lock()
	clear(s.links)
	s.network.Heal()
	s.mu.Unlock()
	for _, n := range s.nodes {
		n.stop()
	}
	// What waited for a disk when its node ended, ends.
	time.Sleep(time.Second) // The clock is synctest's.
}
