package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/trajectory"
)

// graceShare is the part of a lease that the leader waits after its end, since a worker stops by itself before it: see
// worker.patience. Both clocks and the network may be late.
const graceShare = 5

// A worker that holds nothing has nothing to lose: it sends a heartbeat in the time of five, see worker.idleTicks. It is
// quiet soon after the next one is due, and lost after idleLeases leases and the grace. Its lease begins when it is
// granted a run.
const (
	idleLeases     = 2
	idleQuietShare = 4
)

// hungSteps is how many times its mean step a run may make no progress.
const hungSteps = 10

var errLeaseExpired = status.Error(codes.Aborted, "the worker was silent for longer than its lease")

// leases watches the workers: a worker that is silent for longer than its lease is lost, and a run that makes no
// progress on a live worker is hung. Only the leader knows silence and progress, and never logs them; it only logs what
// follows from them. A new leader starts every lease again.
type leases struct {
	// lease and hangTimeout are the configuration's.
	lease, hangTimeout time.Duration
	store              Snapshots
	log                Log
	sessions           endings
	recorder           putter
	failing            *failing
	lost               prometheus.Counter
	logger             *slog.Logger

	mu      sync.Mutex
	workers map[string]time.Time
	runs    map[uint64]*standstill
	// suspect is when many leases ran out together, so that this process may be at fault. It is zero otherwise.
	suspect time.Time
}

// standstill says since when an attempt has made no progress.
type standstill struct {
	// worker holds the attempt: nobody else may advance it.
	worker         string
	steps          uint64
	started, since time.Time
}

// endings ends sessions, except for those that are only not being read, and refreshes the others.
type endings interface {
	end(worker string, cause error)
	heldUp(worker string) bool
	// refresh has sessions look again at what their workers must know, and recheck has one of them do so. It need not know
	// yet that its worker holds something.
	refresh()
	recheck(worker string)
}

// putter takes what is to be recorded.
type putter interface {
	put(ctx context.Context, from *session, entries ...*trellisv1.RecordCommand_Entry) error
}

var (
	_ endings = (*sessions)(nil)
	_ putter  = (*recorder)(nil)
)

// heard renews the worker's lease.
func (l *leases) heard(worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.workers[worker] = time.Now()
}

// begin begins the lease of a worker that was granted its first run.
func (l *leases) begin(worker string) { l.heard(worker) }

// quiet says whether a worker has missed two or more heartbeats, or one while it holds nothing, so that it may already be
// lost.
func (l *leases) quiet(worker *trellisv1.Worker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.workers[worker.GetName()]
	return known && l.tooQuiet(worker, time.Since(last))
}

// tooQuiet says whether a live worker would have been heard from within that time.
func (l *leases) tooQuiet(worker *trellisv1.Worker, silence time.Duration) bool {
	if worker.GetRuns() == 0 {
		return silence > l.lease+l.lease/idleQuietShare
	}
	return silence > l.lease/2
}

// progress records the progress of attempts that the worker holds.
func (l *leases) progress(worker string, heartbeat *trellisv1.Heartbeat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, attempt := range heartbeat.GetAttempts() {
		// An attempt that run has not seen in the store is either unknown, or will be seen soon.
		if still := l.runs[attempt.GetAttempt()]; still != nil && still.worker == worker &&
			attempt.GetSteps() != still.steps {
			still.steps, still.since = attempt.GetSteps(), now
		}
	}
}

// restart gives every worker and run its full time again.
func (l *leases) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.workers)
	clear(l.runs)
	l.suspect = time.Time{}
}

func (l *leases) run(ctx context.Context) {
	interval := l.lease / heartbeatsPerLease
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	l.restart()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if now.Sub(last) > l.lease/2 {
			// This process was suspended or starved. It was not the workers that were silent.
			l.logger.Warn("this coordinator was paused; all leases start again", "for", now.Sub(last))
			l.restart()
		}
		last = now
		if err := l.check(ctx, now); err != nil && ctx.Err() == nil {
			l.logger.Error("check the leases", "error", err)
		}
	}
}

// check ends the leases that have run out and the attempts that are hung.
func (l *leases) check(ctx context.Context, now time.Time) error {
	workers, err := l.store.Snapshot().Workers(nil)
	if err != nil {
		return err
	}
	var live []*trellisv1.Worker
	for _, worker := range workers {
		switch worker.GetState() {
		case trellisv1.WorkerState_WORKER_STATE_READY, trellisv1.WorkerState_WORKER_STATE_DRAINING:
			live = append(live, worker)
		}
	}
	l.failing.forget(live)
	l.sessions.refresh()
	// Thousands may be lost with a part of the network. One by one they would take so long that this loop would seem to have
	// been paused.
	expiring, expires := errgroup.WithContext(ctx)
	expiring.SetLimit(maxRegistering)
	for _, worker := range l.silent(live, now) {
		expiring.Go(func() error { return l.expire(expires, worker) })
	}
	if err := expiring.Wait(); err != nil {
		return err
	}
	return l.endHung(ctx, live, now)
}

// silent returns the workers whose leases have run out. If several of the others are quiet too, and together they are
// more than half of all, it suspects this process first and waits for one more lease.
func (l *leases) silent(live []*trellisv1.Worker, now time.Time) []*trellisv1.Worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	var silent []*trellisv1.Worker
	quiet := 0
	heard := make(map[string]time.Time, len(live))
	for _, worker := range live {
		name := worker.GetName()
		last, known := l.workers[name]
		if !known || l.sessions.heldUp(name) {
			last = now
		}
		heard[name] = last
		if l.tooQuiet(worker, now.Sub(last)) {
			quiet++
		}
		if now.Sub(last) > l.patience(worker) {
			silent = append(silent, worker)
		}
	}
	l.workers = heard
	if quiet < 2 || 2*quiet <= len(live) {
		l.suspect = time.Time{}
		return silent
	}
	if len(silent) == 0 {
		return nil
	}
	if l.suspect.IsZero() {
		l.suspect = now
		l.logger.Warn("most workers fell silent together; waiting for one more lease", "quiet", quiet,
			"workers", len(live))
	}
	if now.Sub(l.suspect) <= l.lease {
		return nil
	}
	return silent
}

// expire ends a silent worker's lease, unless the worker has been heard from in the meantime: verifying may take long.
func (l *leases) expire(ctx context.Context, worker *trellisv1.Worker) error {
	if err := l.log.Verify(ctx); err != nil {
		return fmt.Errorf("verify leadership before a lease expires: %w", err)
	}
	l.mu.Lock()
	last, known := l.workers[worker.GetName()]
	l.mu.Unlock()
	if known && time.Since(last) <= l.patience(worker) || l.sessions.heldUp(worker.GetName()) {
		return nil
	}
	return l.lose(ctx, worker.GetName())
}

// patience is how long a worker may be silent: its lease and a grace, and longer if it holds nothing. The worker believes
// in the lease that it was granted last, maybe by a leader with a longer one.
func (l *leases) patience(worker *trellisv1.Worker) time.Duration {
	lease := max(l.lease, time.Duration(worker.GetLeaseMilliseconds())*time.Millisecond)
	if worker.GetRuns() == 0 {
		return idleLeases*lease + lease/graceShare
	}
	return lease + lease/graceShare
}

// lose marks a worker as lost: its runs go to others, and if it comes back, it must say hello again.
func (l *leases) lose(ctx context.Context, worker string) error {
	held, err := l.store.Snapshot().RunsHeldBy(nil, worker)
	if err != nil {
		return err
	}
	err = setWorkerState(ctx, l.store, l.log, worker, trellisv1.WorkerState_WORKER_STATE_LOST)
	if errors.Is(err, results.ErrIllegalMove) || errors.Is(err, results.ErrNotFound) {
		return nil // It has said goodbye.
	}
	if err != nil {
		return fmt.Errorf("mark worker %s as lost: %w", worker, err)
	}
	l.lost.Inc()
	l.logger.Warn("worker lost: it was silent for longer than its lease", "worker", worker, "lease", l.lease,
		"runs", len(held))
	for _, run := range held {
		l.logger.Info("run lost its worker", "study", run.GetStudy(), "run", run.GetId(), "worker", worker,
			"recorded", run.GetEpochs(), "checkpoint", trajectory.LastCheckpoint(run).GetEpoch())
	}
	l.sessions.end(worker, errLeaseExpired)
	return nil
}

// endHung ends the attempts of live workers that have made no progress for too long.
func (l *leases) endHung(ctx context.Context, live []*trellisv1.Worker, now time.Time) error {
	snapshot := l.store.Snapshot()
	var held []*trellisv1.Run
	for _, worker := range live {
		if worker.GetRuns() == 0 {
			continue
		}
		runs, err := snapshot.RunsHeldBy(nil, worker.GetName())
		if err != nil {
			return err
		}
		held = append(held, runs...)
		l.sessions.recheck(worker.GetName())
	}
	for _, run := range held {
		stood, hung := l.stands(run, now)
		if !hung {
			continue
		}
		message := fmt.Sprintf("worker %s is alive, but the run has made no step for %v", run.GetWorker(),
			stood.Round(time.Second))
		entry := failureEntry(run.GetStudy(), run.GetId(), run.GetAttempt(), trellisv1.FailureClass_FAILURE_CLASS_HUNG,
			message)
		l.logger.Warn("attempt hung", "study", run.GetStudy(), "run", run.GetId(), "worker", run.GetWorker(),
			"for", stood)
		if err := l.recorder.put(ctx, nil, entry); err != nil {
			return err
		}
	}
	l.forget(held)
	return nil
}

// stands returns for how long an attempt has made no progress, and whether that is too long. It starts the clock of an
// attempt that it has not seen before.
func (l *leases) stands(run *trellisv1.Run, now time.Time) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	still := l.runs[run.GetAttempt()]
	if still == nil {
		l.runs[run.GetAttempt()] = &standstill{worker: run.GetWorker(), started: now, since: now}
		return 0, false
	}
	patience := l.hangTimeout
	if still.steps > 0 {
		patience = max(patience, hungSteps*still.since.Sub(still.started)/time.Duration(still.steps))
	}
	stood := now.Sub(still.since)
	return stood, stood > patience
}

// forget drops the clocks of attempts that no worker holds any more.
func (l *leases) forget(held []*trellisv1.Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make(map[uint64]*standstill, len(held))
	for _, run := range held {
		if still := l.runs[run.GetAttempt()]; still != nil {
			kept[run.GetAttempt()] = still
		}
	}
	l.runs = kept
}
