package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
	"trellis/worker/capacity"
	"trellis/worker/dial"
	"trellis/worker/files"
	"trellis/worker/scratch"
	"trellis/worker/supervisor"
)

var (
	// ErrRefused means that the coordinator refuses this worker, and would refuse every retry.
	ErrRefused = errors.New("the coordinator refuses this worker")
	// ErrNotHandedBack means that a drain has ended without the coordinator, which was away for longer than a lease.
	// The coordinator gives the runs to others by itself.
	ErrNotHandedBack = errors.New("the coordinator was not there to take the runs back")
	// ErrDrainTimeout means that a drain has taken longer than Config.DrainTimeout. The coordinator gives the runs that
	// it does not know to be handed back to others when their lease ends.
	ErrDrainTimeout = errors.New("the time to hand runs back is over")
	// ErrCutOff means that the worker has left after Config.ExitWhenIdle without a run and without a coordinator:
	// nobody could say whether there was something to do.
	ErrCutOff = errors.New("no coordinator could say whether there is something to do")
	// ErrNoStudy means that the worker has left after Config.ExitWhenIdle, and that there was no study named
	// Config.Study all that time.
	ErrNoStudy = errors.New("the coordinator has no study of that name")
	// ErrHandedBack means that the worker was leaving for want of runs when it was given one, which goes to another
	// worker.
	ErrHandedBack = errors.New("a run came while the worker was leaving")
)

// connectionAlive detects a dead connection within 70 s. Most end earlier: on Linux, once a heartbeat is not
// acknowledged by the other end's kernel within the timeout, and where there are attempts, when lookAtLease finds that
// nobody answers.
var connectionAlive = keepalive.ClientParameters{Time: time.Minute, Timeout: 10 * time.Second}

// idleTicks is how many times less often a worker sends heartbeats that holds nothing: once in a lease, which is soon
// enough for the coordinator to go on giving it runs.
const idleTicks = 5

// Worker trains runs for a coordinator. See the package documentation.
type Worker struct {
	config Config
	name   string
	// key is the secret by which the coordinator knows this process again.
	key []byte
	// processor is the machine's.
	processor string
	log       *slog.Logger
	metrics   *metrics

	drain     chan struct{}
	drainOnce sync.Once
	// drained is when the drain began. Set before drain is closed.
	drained time.Time

	// slots holds one token for each run in training, and for each core that is lent. Waiting is how many runs wait to
	// put theirs there.
	slots   chan struct{}
	waiting atomic.Int32
	// programsRunning is how many of these runs are programs.
	programsRunning atomic.Int32
	// largeEnded says that a run has ended that took much memory.
	largeEnded atomic.Bool
	// events come from the attempts' goroutines.
	events *events
	// goroutines counts the attempts' goroutines.
	goroutines sync.WaitGroup
	// trainings gives a training to a goroutine that has none, if there is one.
	trainings  chan training
	data       *shared[string, *dataset.Data]
	pretrained *shared[pretrained, *trainer.Checkpoint]
	artifacts  artifacts
	// cache stores data sets on disk, and files the files of programs.
	cache *dataset.Cache
	files *files.Cache
	// capacity is what the machine has, and gpus are those of them that no attempt has.
	capacity *trellisv1.Capacity
	gpus     *capacity.GPUs
	// supervisors has the next program's supervisor ready, once a first has run.
	supervisors supervisor.Spare
	// attemptsMu guards folder, in which attempts have theirs, nil before it is needed, and former, those that programs
	// have made useless.
	attemptsMu sync.Mutex
	folder     *scratch.Folder
	former     []*scratch.Folder
	// connected says that there is a session with a welcome.
	connected atomic.Bool
	// checkpointInterval is how often a run's checkpoint is uploaded, as a time.Duration. 0: never.
	checkpointInterval atomic.Int64

	// Run owns the fields below.

	// ctx ends everything that the worker does.
	ctx     context.Context
	client  trellisv1.WorkerServiceClient
	session *session
	// mistakes receives what is wrong with all connections that are tried.
	mistakes <-chan *dial.Mistake
	// mistaken is the last that was logged since the last welcome.
	mistaken string
	// denied says that the coordinator did not know who the worker is when the last session ended.
	denied bool
	// node is the address of the coordinator's node of the last session.
	node string
	// attempts are the attempts that the coordinator has assigned to this worker, in the order of arrival.
	attempts  []*attempt
	positions positions
	draining  bool
	// unfit is the error because of which the worker leaves by itself. It is nil as long as the worker can train.
	unfit error
	// failures counts the sessions that have failed since the last one that lasted for a heartbeat.
	failures int
	// lease is how long the coordinator waits for a silent worker.
	lease time.Duration
	// heartbeat ticks while there is a session with a welcome.
	heartbeat <-chan time.Time
	// contact is when the worker last sent what the coordinator is known to have received: its lease began then.
	contact time.Time
	// fence fires when the worker has been without a session, and without contact for longer than its patience.
	fence <-chan time.Time
	// releasing fires when memory is to be given back.
	releasing <-chan time.Time
	// clock ticks. The time since the last tick, awake, shows whether the process was paused.
	clock <-chan time.Time
	awake time.Time
	// giveUp fires when a drain has waited long enough for the coordinator.
	giveUp <-chan time.Time
	// timeUp fires when a drain has taken as long as it may.
	timeUp <-chan time.Time
	// idle fires when the worker has held no run for as long as it may, and had a coordinator meanwhile, or with
	// idleWithout none. It is nil while it holds a run.
	idle        <-chan time.Time
	idleWithout bool
	// own is what the worker knows of Config.Study.
	own own
	// idled says that it leaves because of that, and more is what there was to do after all.
	idled bool
	more  error
}

// New returns a worker. Call Run to start it.
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
		key:       newKey(),
		processor: processor(),
		log:       config.Logger.With("worker", name),
		metrics:   metrics,
		drain:     make(chan struct{}),
		slots:     make(chan struct{}, config.Slots),
		events:    newEvents(),
		trainings: make(chan training),
		cache:     dataset.NewCache(config.CacheDir),
	}, nil
}

// Name returns the worker's name, which is unique to this Worker.
func (w *Worker) Name() string { return w.name }

// Ready says whether the worker has a session with its coordinator, and can be given runs. It may be called at any
// time.
func (w *Worker) Ready() bool {
	select {
	case <-w.drain:
		return false
	default:
		return w.connected.Load()
	}
}

// Drain makes the worker leave: it takes no more runs, stops those that it trains, returns them and says goodbye. Then
// Run returns. Drain returns immediately. It may be called at any time, and more than once.
func (w *Worker) Drain() {
	w.drainOnce.Do(func() {
		w.drained = time.Now()
		close(w.drain)
	})
}

// Run works for the coordinator until ctx is done or the worker is drained. It waits forever for a coordinator that is
// not there, and reconnects to one that was lost.
//
// Run returns nil after a drain. It returns nil after Config.ExitWhenIdle without a run too, but ErrCutOff or
// ErrHandedBack if that was not for want of runs, or ErrNoStudy. It returns nil too when Config.Study has ended. It
// returns ErrNotHandedBack after a drain that the coordinator missed, ErrDrainTimeout after one that took too long, and
// ctx's cause when ctx is done. It returns ErrUnfit if this worker can't train, either at the start or later. It
// returns an error that wraps ErrRefused if the coordinator refuses this worker: another version of the protocol or the
// arithmetic, an invalid configuration, or no permission. It returns a dial.Mistake if no connection to the coordinator
// can be made secure. No training continues after Run has returned. Call Run only once.
func (w *Worker) Run(ctx context.Context) error {
	options := append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retries, MinConnectTimeout: retries.MaxDelay}),
		grpc.WithKeepaliveParams(connectionAlive),
		grpc.WithUserAgent("trellis-worker/" + w.config.Version),
	}, append(w.config.Tracer.DialOptions(), w.config.DialOptions...)...)
	conn, err := dial.NewClient(w.config.Coordinator, dial.InTurn, w.config.Credentials, options...)
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
	w.files = files.NewCache(w.config.CacheDir, w.artifacts.fetchFiles)
	w.capacity = w.config.capacity(ctx)
	w.config.keepWithin(w.capacity.GetMemory())
	w.gpus = capacity.NewGPUs(w.capacity.GetGpus())
	w.mistakes = conn.Mistakes()
	if w.config.Programs {
		// What a worker has left that was killed is removed now. Who only trains models needs no folder.
		if _, err := w.attemptsFolder(); err != nil {
			w.log.Debug("could not make a folder for attempts", "error", err)
		}
	}
	w.open()
	defer w.finish(cancel)
	if err := w.loop(); err != nil {
		return err
	}
	return cmp.Or(w.unfit, w.more)
}

// finish ends all goroutines.
func (w *Worker) finish(cancel context.CancelFunc) {
	cancel()
	close(w.trainings)
	w.goroutines.Wait()
	for _, a := range w.attempts {
		a.span.Stopped()
	}
	if w.session != nil {
		<-w.session.done
	}
	w.supervisors.Close()
	for _, folder := range append(w.former, w.folder) {
		if err := folder.Remove(); err != nil {
			w.log.Warn("could not remove the attempts' folder", "folder", folder.Path(), "error", err)
		}
	}
	w.data.close()
	w.pretrained.close()
}

// loop handles events until there is nothing more to do.
func (w *Worker) loop() error {
	drain := w.drain
	for {
		w.lookAtClock()
		w.lookAtLease()
		w.lookAtStudy()
		w.lookAtIdleness()
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
			w.handleResponses(response)
		case <-w.session.ready:
			w.session.idle = true
		case <-w.heartbeat:
			// Reset this only now: if sessions end as soon as they begin, they must not be retried without a pause.
			w.failures = 0
			// A few are enough of a worker that holds nothing.
			if w.session.ticks++; len(w.attempts) > 0 || w.session.ticks%idleTicks == 0 {
				w.session.heartbeatDue = true
			}
		case <-w.releasing:
			w.releasing = nil
			w.release()
		case <-w.clock:
		case <-w.fence:
			if w.denied {
				w.suspend("the coordinator refuses this worker")
			} else {
				w.suspend("the coordinator can't be reached")
			}
		case err := <-w.session.done:
			last := w.session
			w.session = nil
			if last.left {
				return nil
			}
			if w.isFinal(err) {
				return fmt.Errorf("work for coordinator at %s: %w", w.config.Coordinator, &refusal{err})
			}
			w.reopen(last, err)
		case mistake := <-w.mistakes:
			// Later, someone may be changing certificates, and the worker has runs.
			if w.node == "" {
				return fmt.Errorf("work for coordinator at %s: %w", w.config.Coordinator, mistake)
			}
			if w.mistaken != mistake.Error() {
				w.mistaken = mistake.Error()
				w.log.Warn("can't connect securely to the coordinator; will retry", "error", mistake)
			}
		case <-w.idle:
			w.leave()
		case <-w.timeUp:
			return fmt.Errorf("return %d runs to coordinator at %s: %w: %v", len(w.attempts), w.config.Coordinator,
				ErrDrainTimeout, w.config.DrainTimeout)
		case <-w.giveUp:
			if w.session.left {
				return nil
			}
			return fmt.Errorf("return %d runs to coordinator at %s: %w", len(w.attempts), w.config.Coordinator,
				ErrNotHandedBack)
		}
	}
}
