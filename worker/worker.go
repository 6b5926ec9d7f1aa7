package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

var (
	// ErrRefused means that the coordinator will not work with this worker however often it is asked.
	ErrRefused = errors.New("the coordinator refuses this worker")
	// ErrNotHandedBack means that a drain has ended without the coordinator: it was away for longer than it waits for a
	// worker. It gives the runs to others by itself.
	ErrNotHandedBack = errors.New("the coordinator is not there to take the runs back")
)

// connectionAlive finds out within 40 s that a connection is dead. The coordinator allows pings every 10 s.
var connectionAlive = keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}

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
	// events come from the attempts' goroutines. Run takes them until each has sent its outcome.
	events chan event
	data   *dataSets

	// The rest is Run's.

	client  trellisv1.WorkerServiceClient
	session *session
	// attempts are those that the coordinator has leased to this worker, in the order in which they came.
	attempts []*attempt
	// working counts the attempts' goroutines, those of forgotten attempts included.
	working   int
	positions positions
	draining  bool
	// failures counts sessions that have failed since the last one that lasted for a heartbeat.
	failures int
	// lease is how long the coordinator waits for a worker that is silent.
	lease time.Duration
	// heartbeat ticks while the session is welcomed.
	heartbeat <-chan time.Time
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
		events:    make(chan event),
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
// and an error wrapping ErrRefused if the coordinator will have nothing to do with this worker: protocol or
// arithmetic of another version, invalid configuration, no permission. No training goes on after it has returned. Run
// is called once.
func (w *Worker) Run(ctx context.Context) error {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retries, MinConnectTimeout: retries.MaxDelay}),
		grpc.WithKeepaliveParams(connectionAlive),
		grpc.WithUserAgent("trellis-worker/" + w.config.Version),
	}, w.config.DialOptions...)
	conn, err := grpc.NewClient(w.config.target(), options...)
	if err != nil {
		return fmt.Errorf("connect to coordinator at %s: %w", w.config.Coordinator, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	w.client = trellisv1.NewWorkerServiceClient(conn)
	w.data = newDataSets(ctx, w.log,
		downloader(trellisv1.NewDataSetServiceClient(conn), dataset.NewCache(w.config.CacheDir)))
	w.open(ctx)
	defer w.finish(cancel)
	return w.loop(ctx)
}

// finish ends all goroutines.
func (w *Worker) finish(cancel context.CancelFunc) {
	cancel()
	for w.working > 0 {
		if e := <-w.events; e.outcome != nil {
			w.working--
		}
	}
	if w.session != nil {
		<-w.session.done
	}
	w.data.close()
}

// loop handles whatever happens next, until there is nothing more to do.
func (w *Worker) loop(ctx context.Context) error {
	drain := w.drain
	for {
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
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-drain:
			drain = nil
			w.startDrain()
		case e := <-w.events:
			w.handleEvent(e)
		case response := <-w.session.responses:
			w.handleResponse(ctx, response)
		case <-w.session.ready:
			w.session.idle = true
		case <-w.heartbeat:
			// Only now: a session that ends as soon as it has begun must not be tried again and again without a pause.
			w.failures = 0
			w.session.heartbeatDue = true
		case err := <-w.session.done:
			last := w.session
			w.session = nil
			if last.left {
				return nil
			}
			if refused(err) {
				return fmt.Errorf("work for coordinator at %s: %w: %s", w.config.Coordinator, ErrRefused, reason(err))
			}
			w.reopen(ctx, last.welcomed, err)
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
func (w *Worker) open(ctx context.Context) {
	hello := &trellisv1.Hello{
		Protocol:  trellisv1.SessionProtocol,
		Numerics:  trainer.NumericsVersion,
		Worker:    w.name,
		Slots:     uint32(w.config.Slots),
		Version:   w.config.Version,
		Processor: w.processor,
		Draining:  w.draining,
	}
	for _, a := range w.attempts {
		a.resend()
		hello.Attempts = append(hello.Attempts, a.number())
	}
	w.session = openSession(ctx, w.client, hello, w.failures)
}

// reopen opens another session after one has ended. Who looks after the worker is told once.
func (w *Worker) reopen(ctx context.Context, connected bool, err error) {
	switch {
	case connected:
		w.log.Warn("lost the coordinator; training goes on, trying again", "coordinator", w.config.Coordinator,
			"error", reason(err), "runs", len(w.attempts))
	case w.failures == 0:
		w.log.Warn("coordinator is not there; trying again", "coordinator", w.config.Coordinator, "error", reason(err))
	}
	w.failures++
	w.heartbeat = nil
	if w.draining && w.giveUp == nil {
		w.giveUp = time.After(w.lease)
	}
	w.open(ctx)
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
		a.cancel()
	}
}

// handleEvent takes over what an attempt has reported. Of an attempt that has been forgotten, nothing is sent.
func (w *Worker) handleEvent(e event) {
	if e.report != nil {
		e.attempt.reports = append(e.attempt.reports, e.report)
		return
	}
	w.working--
	w.metrics.ended(e.outcome)
	e.attempt.outcome = e.outcome
	if e.outcome.GetReturn() != nil {
		w.positions.keep(e.attempt.assignment, e.position)
	}
}

// assign begins an attempt. It waits for a slot if it must: where the attempt before it is stopping.
func (w *Worker) assign(ctx context.Context, assignment *trellisv1.Assignment) {
	if w.find(assignment.GetAttempt()) != nil {
		return
	}
	a := newAttempt(assignment)
	w.attempts = append(w.attempts, a)
	if w.draining {
		a.outcome = a.returned()
		return
	}
	from := w.positions.take(assignment)
	a.reports = slices.Clone(from.reports)
	ctx, a.cancel = context.WithCancel(ctx)
	w.working++
	go w.work(ctx, a, from)
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
	a.cancel()
	w.attempts = slices.DeleteFunc(w.attempts, func(b *attempt) bool { return a == b })
}
