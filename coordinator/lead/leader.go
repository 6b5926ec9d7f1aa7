package lead

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	"trellis/coordinator/quota"
	"trellis/coordinator/spans"
	"trellis/coordinator/webhook"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

const (
	// heartbeatsPerLease says how many heartbeats a worker may miss.
	heartbeatsPerLease = 5
	// storagePatience is how long the end of a term waits for what reads artifacts and data sets.
	storagePatience = 2 * time.Second
)

// ErrNotLeading is what workers are told at the end of a term, and by a node that does not lead.
var ErrNotLeading = status.Error(codes.Unavailable, "this coordinator no longer leads: reconnect")

var errReplaced = status.Error(codes.Aborted, "a newer session of this worker has replaced this one")

// Snapshots gives read access to the store.
type Snapshots interface {
	Snapshot() *results.Snapshot
}

// Log accepts commands. Only a leader's log does.
type Log interface {
	// ProposePatiently appends a command and returns the state machine's answer. If the answer is an error, it returns
	// it as err. While the log has no room, it retries until ctx is done.
	ProposePatiently(ctx context.Context, command *trellisv1.Command) (answer any, err error)
	// Verify returns nil once it is certain that this node leads and has applied everything ever acknowledged.
	Verify(ctx context.Context) error
}

// proposer is what most parts need of the log.
type proposer interface {
	ProposePatiently(ctx context.Context, command *trellisv1.Command) (answer any, err error)
}

var _ Snapshots = (*results.Store)(nil)

// Config has what a leader needs.
type Config struct {
	// Numerics is the version of the trainer's arithmetic with which workers train.
	Numerics string
	// Lease is how long a worker may be silent. HangTimeout is the minimum time that a run may make no progress.
	Lease, HangTimeout time.Duration
	// CheckpointInterval is how often workers save checkpoints. Zero: never.
	CheckpointInterval time.Duration
	// Queue bounds the bytes of what workers have sent and the log does not have yet. A worker beyond its share is not
	// read until there is room. The zero value is no bound.
	Queue     quota.Limit
	Store     Snapshots
	Log       Log
	Artifacts *artifact.Keeper
	DataSets  DataSets
	// Stopping is done when the node stops. Sessions then end, with its cause as their error.
	Stopping context.Context
	// Version is the binary's, by which receivers of web hooks know it.
	Version string
	Logger  *slog.Logger
	// Spans trace runs. They may be nil.
	Spans *spans.Spans
	// Registerer receives the metrics, if it is not nil.
	Registerer prometheus.Registerer
}

// Leader has the loops that run while this node leads, and their state in memory.
type Leader struct {
	config     Config
	logger     *slog.Logger
	metrics    *metrics
	sessions   *sessions
	leases     *leases
	recorder   *recorder
	dispatcher *dispatcher
	settler    *settler
	timekeeper *timekeeper
	sharer     *sharer
	failing    *failing
	data       *data
	host       *host
	deliverer  *webhook.Deliverer
	// term is the current term, or nil while this node does not lead.
	term atomic.Pointer[term]
}

// term is the time during which this node leads. What only the leader may do, such as talking to workers, ends with its
// context.
type term struct {
	ctx context.Context
}

// New returns a leader that does not lead yet.
func New(config Config) *Leader {
	l := &Leader{config: config, logger: config.Logger, metrics: newMetrics(config.Registerer), sessions: newSessions()}
	failing := newFailing(config.Logger)
	l.settler = &settler{store: config.Store, log: config.Log, logger: config.Logger, woken: newBell()}
	l.timekeeper = &timekeeper{store: config.Store, log: config.Log, logger: config.Logger}
	l.sharer = &sharer{store: config.Store, log: config.Log, logger: config.Logger, woken: newBell()}
	l.dispatcher = &dispatcher{
		store: config.Store, log: config.Log, sessions: l.sessions, failing: failing, grants: l.metrics.granted,
		logger: config.Logger, woken: newBell(), chosen: newChosen(), spans: config.Spans,
	}
	l.failing, l.data = failing, newData(config, l.dispatcher.woken)
	l.dispatcher.data = l.data
	l.recorder = &recorder{
		log: config.Log, sessions: l.sessions, failing: failing, dispatcher: l.dispatcher,
		awaited: []waker{l.dispatcher.woken, l.settler.woken}, metrics: l.metrics, logger: config.Logger,
		queue: make(chan delivery, recordQueue), prompted: newBell(), held: quota.New(config.Queue),
		warnings: &warnings{logger: config.Logger}, spans: config.Spans,
	}
	l.deliverer = webhook.NewDeliverer(config.Store, config.Log, webhook.Sender{Version: config.Version}, config.Logger,
		config.Registerer)
	l.leases = &leases{
		lease: config.Lease, hangTimeout: config.HangTimeout, store: config.Store, log: config.Log,
		sessions: l.sessions,
		recorder: l.recorder, failing: failing, lost: l.metrics.lost, logger: config.Logger,
		workers: map[string]time.Time{}, runs: map[uint64]*standstill{},
	}
	l.dispatcher.leases = l.leases
	l.host = &host{
		numerics: config.Numerics, lease: config.Lease, checkpointInterval: config.CheckpointInterval,
		store: config.Store,
		log:   config.Log, artifacts: config.Artifacts, leases: l.leases, recorder: l.recorder, sessions: l.sessions,
		dispatcher: l.dispatcher.woken, logger: config.Logger, warnings: l.recorder.warnings,
		registering: make(chan struct{}, maxRegistering), spans: config.Spans,
		asked: newAsked(config.Store, config.Logger),
	}
	return l
}

// Term returns the context of this node's term, or nil while it does not lead.
func (l *Leader) Term() context.Context {
	if term := l.term.Load(); term != nil {
		return term.ctx
	}
	return nil
}

// Leads says whether this node leads.
func (l *Leader) Leads() bool { return l.term.Load() != nil }

// Connected returns how many workers have a session.
func (l *Leader) Connected() int { return l.sessions.count() }

// WaitingFor says what a study's runs wait for before they are given to workers, nothing if nothing is missing. A node
// that does not lead does not know.
func (l *Leader) WaitingFor(study string) *trellisv1.WaitingFor {
	if !l.Leads() {
		return nil
	}
	if why := l.data.WaitingFor(study); why != nil {
		return why
	}
	if why := awaitsWorker(l.config.Store.Snapshot(), study); why != nil {
		return why
	}
	if waits, err := awaitsMachine(l.config.Store.Snapshot(), study); err != nil || !waits {
		return nil
	}
	return &trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_ANOTHER_MACHINE}
}

// Lacks says whether a study's data set, pretrained weights or files are missing: none of its runs begins before they
// are there.
func (l *Leader) Lacks(study string) bool { return l.Leads() && l.data.WaitingFor(study) != nil }

// Avoided says why a worker is given no runs for now, or none of some studies. A node that does not lead does not know.
func (l *Leader) Avoided(worker string) []*trellisv1.Avoidance {
	if !l.Leads() {
		return nil
	}
	return l.failing.avoided(worker, time.Now())
}

// Missing notes that a data set or pretrained weights can't be served: the studies that need them wait.
func (l *Leader) Missing(digest string, why *trellisv1.WaitingFor) error {
	return l.data.missing(digest, why)
}

// Changed is closed at the next change of what WaitingFor says.
func (l *Leader) Changed() <-chan struct{} { return l.data.next() }

// Begin begins a term: it starts the leader's loops, and returns a function that ends them and everything else that
// belongs to the term. The loops' and sessions' state in memory ends with the term.
func (l *Leader) Begin(ctx context.Context) (stop func(why error)) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.config.Spans.Begin()
	var loops sync.WaitGroup
	loops.Go(func() { l.recorder.run(ctx) })
	loops.Go(func() { l.leases.run(ctx) })
	loops.Go(func() { l.dispatcher.run(ctx) })
	loops.Go(func() { l.settler.run(ctx) })
	loops.Go(func() { l.timekeeper.run(ctx) })
	loops.Go(func() { l.sharer.run(ctx) })
	loops.Go(func() { l.host.asked.run(ctx) })
	loops.Go(func() { l.config.Spans.Run(ctx) })
	loops.Go(func() { l.deliverer.Run(ctx) })
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		l.newCollector().run(ctx)
	}()
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		l.data.run(ctx)
	}()
	l.term.Store(&term{ctx: ctx})
	return func(why error) {
		l.term.Store(nil)
		cancel(why)
		loops.Wait()
		// A store of artifacts that hangs, or a large data set that is being read, must not keep the node from leading
		// again. One delete may take effect late then.
		patience := time.After(storagePatience)
		for _, done := range []chan struct{}{collected, looked} {
			select {
			case <-done:
			case <-patience:
			}
		}
		l.recorder.drop(why)
	}
}

// newCollector returns a collector for one term.
func (l *Leader) newCollector() *collector {
	return &collector{
		artifacts: l.config.Artifacts, metrics: l.metrics.artifacts, logger: l.logger,
		references: func() (map[string]bool, error) { return l.config.Store.Snapshot().Artifacts() },
		verify:     l.config.Log.Verify,
		idle:       map[string]time.Time{},
	}
}

// Serve serves one worker, which has said hello, until its stream breaks or this node ends it.
func (l *Leader) Serve(hello *trellisv1.Hello, stream trellisv1.WorkerService_SessionServer) error {
	term := l.Term()
	if term == nil {
		return ErrNotLeading
	}
	return l.host.serve(term, l.config.Stopping, hello, stream)
}

// Notify wakes the loops and sessions that a command concerns, given the state machine's answer. Only the leader
// proposes commands, so it hears of every change in its term. A notice says where to look, not what to do: the receiver
// compares the store with what it has done, as it also does from time to time without a notice. Watching the store
// instead would wake thousands of sessions for every change, because neighbors in its trees share what is watched.
//
// For record commands, the recorder notifies entry by entry.
func (l *Leader) Notify(command *trellisv1.Command, answer any) {
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateStudy, *trellisv1.Command_ExtendStudy, *trellisv1.Command_RetryStudy:
		l.dispatcher.woken.wake()
		l.settler.woken.wake()
		l.sharer.woken.wake()
	case *trellisv1.Command_ShareRuns:
		l.dispatcher.woken.wake()
		l.settler.woken.wake()
	case *trellisv1.Command_SetStudyState, *trellisv1.Command_DeleteStudy:
		l.sessions.recheckAll()
		l.dispatcher.woken.wake()
		l.settler.woken.wake()
	case *trellisv1.Command_SetWorker:
		l.sessions.recheck(change.SetWorker.GetWorker().GetName())
		l.dispatcher.woken.wake()
	case *trellisv1.Command_Grant:
		refusals, _ := answer.([]error)
		for i, grant := range change.Grant.GetGrants() {
			if i < len(refusals) && refusals[i] == nil {
				l.sessions.grant(grant)
			}
		}
	}
}
