package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
	"trellis/worker/dial"
)

var (
	// ErrRefused means that the coordinator will not work with this worker however often it is asked.
	ErrRefused = errors.New("the coordinator refuses this worker")
	// ErrNotHandedBack means that a drain has ended without the coordinator: it was away for longer than it waits for a
	// worker. It gives the runs to others by itself.
	ErrNotHandedBack = errors.New("the coordinator is not there to take the runs back")
)

// connectionAlive finds out within 15 s that a connection is dead. The coordinator allows pings every 10 s.
var connectionAlive = keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}

// Worker trains runs for a coordinator. See the package's documentation.
type Worker struct {
	config Config
	name   string
	// processor is the machine's.
	processor string
	log       *slog.Logger
	metrics   *metrics

	drain     chan struct{}
	drainOnce sync.Once

	// slots holds one token for each run in training.
	slots chan struct{}
	// events come from the attempts' goroutines.
	events *events
	// goroutines are the attempts'.
	goroutines sync.WaitGroup
	data       *shared[string, *dataset.Data]
	pretrained *shared[pretrained, *trainer.Checkpoint]
	artifacts  artifacts
	// cache keeps data sets on disk.
	cache *dataset.Cache
	// connected says that there is a welcomed session.
	connected atomic.Bool
	// checkpointInterval is how often a run's checkpoint is uploaded, a time.Duration. 0: never.
	checkpointInterval atomic.Int64

	// The rest is Run's.

	// ctx ends all that the worker does.
	ctx     context.Context
	client  trellisv1.WorkerServiceClient
	session *session
	// node is the coordinator's node that the last session was with.
	node string
	// attempts are those that the coordinator has leased to this worker, in the order in which they came.
	attempts  []*attempt
	positions positions
	draining  bool
	// unfit is why the worker leaves by itself, nil as long as it is fit to train.
	unfit error
	// failures counts sessions that have failed since the last one that lasted for a heartbeat.
	failures int
	// lease is how long the coordinator waits for a worker that is silent.
	lease time.Duration
	// heartbeat ticks while the session is welcomed.
	heartbeat <-chan time.Time
	// fence fires when the worker has been without a session for longer than its patience.
	fence <-chan time.Time
	// clock ticks, so that the time since it was looked at last, awake, shows whether the process has stood still.
	clock <-chan time.Time
	awake time.Time
	// giveUp fires when a drain has waited for the coordinator long enough.
	giveUp <-chan time.Time
}

// New makes a worker. Run sets it to work.
func New(config Config) (*Worker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure worker: %w", err)
	}
	config = config.withDefaults()
	metrics, err := newMetrics(config.Registerer, config.Slots)
	if err != nil {
		return nil, err
	}
	name := uniqueName(config.Name)
	return &Worker{
		config:    config,
		name:      name,
		processor: processor(),
		log:       config.Logger.With("worker", name),
		metrics:   metrics,
		drain:     make(chan struct{}),
		slots:     make(chan struct{}, config.Slots),
		events:    newEvents(),
		cache:     dataset.NewCache(config.CacheDir),
	}, nil
}

// Name is the worker's name, unique to this Worker.
func (w *Worker) Name() string { return w.name }

// Drain makes the worker leave: it takes no more runs, stops those that it trains, hands them back and says goodbye.
// Then Run returns. Drain returns at once, and may be called at any time and more than once.
func (w *Worker) Drain() {
	w.drainOnce.Do(func() { close(w.drain) })
}

// Run works for the coordinator until ctx is done or the worker is drained. It waits for a coordinator that is not
// there, and comes back to one that was lost, for as long as it takes.
//
// It returns nil after a drain, ErrNotHandedBack after one that the coordinator missed, ctx's cause once ctx is done,
// ErrUnfit if this worker can't train, whether that shows at the start or later, and an error wrapping ErrRefused if the coordinator will have nothing to do with this worker: protocol or
// arithmetic of another version, invalid configuration, no permission. No training goes on after it has returned. Run
// is called once.
func (w *Worker) Run(ctx context.Context) error {
	options := append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retries, MinConnectTimeout: retries.MaxDelay}),
		grpc.WithKeepaliveParams(connectionAlive),
		grpc.WithUserAgent("trellis-worker/" + w.config.Version),
	}, w.config.DialOptions...)
	conn, err := dial.NewClient(w.config.Coordinator, dial.InTurn, options...)
	if err != nil {
		return fmt.Errorf("connect to coordinator at %s: %w", w.config.Coordinator, err)
	}
	defer conn.Close()
	if err := w.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	w.ctx, w.awake = ctx, w.config.now()
	w.client = trellisv1.NewWorkerServiceClient(conn)
	w.artifacts = artifacts{trellisv1.NewArtifactServiceClient(conn)}
	w.data = newShared(ctx, w.log, "data_set",
		downloader(trellisv1.NewDataSetServiceClient(conn), w.cache))
	w.pretrained = newShared(ctx, w.log, "pretrained", w.artifacts.fetchPretrained)
	w.open()
	defer w.finish(cancel)
	if err := w.loop(); err != nil {
		return err
	}
	return w.unfit
}

// finish ends all goroutines.
func (w *Worker) finish(cancel context.CancelFunc) {
	cancel()
	w.goroutines.Wait()
	if w.session != nil {
		<-w.session.done
	}
	w.data.close()
	w.pretrained.close()
}

// loop handles whatever happens next, until there is nothing more to do.
func (w *Worker) loop() error {
	drain := w.drain
	for {
		w.lookAtClock()
		if w.draining && len(w.attempts) == 0 && !w.session.welcomed {
			return nil
		}
		if w.session.idle {
			if request := w.nextRequest(); request != nil {
				w.session.idle = false
				w.session.requests <- request
			}
		}
		select {
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		case <-drain:
			drain = nil
			w.startDrain()
		case <-w.events.notice:
			for _, e := range w.events.take() {
				w.handleEvent(e)
			}
		case response := <-w.session.responses:
			w.handleResponse(response)
		case <-w.session.ready:
			w.session.idle = true
		case <-w.heartbeat:
			// Only now: a session that ends as soon as it has begun must not be tried again and again without a pause.
			w.failures = 0
			w.session.heartbeatDue = true
		case <-w.clock:
		case <-w.fence:
			w.suspend("the coordinator is out of reach")
		case err := <-w.session.done:
			last := w.session
			w.session = nil
			if last.left {
				return nil
			}
			if refused(err) {
				return fmt.Errorf("work for coordinator at %s: %w: %s", w.config.Coordinator, ErrRefused, reason(err))
			}
			w.reopen(last, err)
		case <-w.giveUp:
			if w.session.left {
				return nil
			}
			return fmt.Errorf("hand back %d runs to coordinator at %s: %w", len(w.attempts), w.config.Coordinator,
				ErrNotHandedBack)
		}
	}
}

// open starts a session that says what the worker holds.
func (w *Worker) open() {
	hello := &trellisv1.Hello{
		Protocol:  trellisv1.SessionProtocol,
		Numerics:  trainer.NumericsVersion,
		Worker:    w.name,
		Slots:     uint32(w.config.Slots),
		Version:   w.config.Version,
		Processor: w.processor,
		Draining:  w.draining,
		Machine:   machine(),
	}
	for _, a := range w.attempts {
		a.resend()
		hello.Attempts = append(hello.Attempts, a.number())
	}
	w.session = openSession(w.ctx, w.client, hello, w.failures)
}

// reopen opens another session after one has ended. Who looks after the worker is told once.
func (w *Worker) reopen(last *session, err error) {
	switch {
	case last.welcomed:
		if !last.abandoned {
			w.log.Warn("lost the coordinator; trying again", "coordinator", w.coordinator(), "error", reason(err),
				"runs", len(w.attempts))
		}
		w.connected.Store(false)
		if patience := w.patience(); patience > 0 {
			w.fence = time.After(patience)
		}
	case w.failures == 0:
		w.log.Warn("coordinator is not there; trying again", "coordinator", w.config.Coordinator, "error", reason(err))
	}
	w.failures++
	w.heartbeat = nil
	if w.draining && w.giveUp == nil {
		w.giveUp = time.After(w.lease)
	}
	w.open()
}

// coordinator is the address of the coordinator, or of the node of it that the last session was with.
func (w *Worker) coordinator() string {
	if strings.Contains(w.config.Coordinator, ",") && w.node != "" {
		return w.node
	}
	return w.config.Coordinator
}

// startDrain stops all training. Its outcomes hand the runs back.
func (w *Worker) startDrain() {
	w.log.Info("draining", "runs", len(w.attempts))
	w.draining = true
	w.session.drainDue = true
	if !w.session.welcomed {
		w.giveUp = time.After(w.lease)
	}
	for _, a := range w.attempts {
		if a.suspended && !a.working {
			w.giveBack(a)
		}
		a.interrupt(errDraining)
	}
}

// handleEvent takes over what an attempt has reported. Of an attempt that has been forgotten, nothing is sent.
func (w *Worker) handleEvent(e event) {
	a := e.attempt
	switch {
	case e.checkpoint != nil:
		a.checkpoints = append(a.checkpoints, e.checkpoint)
	case e.outcome == nil:
		a.reported(e.report)
	default:
		w.ended(a, e.outcome, e.position, e.handedBack)
		if e.unfit != nil && !w.draining {
			w.log.Error("this worker is not fit to train any more", "error", e.unfit)
			w.unfit = e.unfit
			w.startDrain()
		}
	}
}

// ended notes that an attempt's goroutine has ended. Training that was only suspended has no outcome yet.
func (w *Worker) ended(a *attempt, outcome *trellisv1.Outcome, at position, handedBack bool) {
	a.working = false
	interrupted := outcome.GetReturn() != nil
	if interrupted && !handedBack && a.ctx.Err() == nil && !w.draining {
		a.position = at
		if !a.suspended {
			w.start(a)
		}
		return
	}
	a.suspended = false
	a.outcome = outcome
	w.metrics.ended(outcome)
	if interrupted {
		w.positions.keep(a.assignment, at)
	}
}

// assign begins an attempt. It waits for a slot if it must: where the attempt before it is stopping.
func (w *Worker) assign(assignment *trellisv1.Assignment) {
	if w.find(assignment.GetAttempt()) != nil {
		return
	}
	if w.draining {
		a := newAttempt(w.ctx, assignment, position{})
		a.outcome = a.returned()
		w.attempts = append(w.attempts, a)
		return
	}
	a := newAttempt(w.ctx, assignment, w.positions.take(assignment))
	a.uploads.open(w, a)
	w.attempts = append(w.attempts, a)
	w.start(a)
}

// start lets a goroutine train, from the attempt's position on.
func (w *Worker) start(a *attempt) {
	from := a.position
	a.position, a.working = position{}, true
	if from.checkpoint == nil {
		// It may begin elsewhere than before, where a checkpoint could not be had: reports are of consecutive epochs.
		a.reports, a.sent, a.epoch = nil, 0, 0
	}
	ctx, interrupt := context.WithCancelCause(a.ctx)
	a.interrupt = interrupt
	w.goroutines.Go(func() {
		defer interrupt(nil)
		w.work(ctx, a, from)
	})
}

func (w *Worker) find(number uint64) *attempt {
	for _, a := range w.attempts {
		if a.number() == number {
			return a
		}
	}
	return nil
}

// forget ends an attempt: nothing more is sent for it.
func (w *Worker) forget(a *attempt) {
	if a.suspended && !a.working {
		w.giveBack(a)
	}
	a.end()
	w.attempts = slices.DeleteFunc(w.attempts, func(b *attempt) bool { return a == b })
}
