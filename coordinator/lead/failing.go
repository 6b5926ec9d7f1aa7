package lead

import (
	"log/slog"
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// failingRuns is how many different runs must fail on a worker, one after the other and without a success in
	// between, before it is avoided.
	failingRuns = 3
	// avoidAtFirst is for how long it is avoided then. Every further failure doubles that, up to avoidAtMost.
	avoidAtFirst = 5 * time.Second
	avoidAtMost  = 5 * time.Minute
)

// failing knows the workers on which everything fails, as on one whose disk is full: such a worker is always free, and
// would use up the budgets of all runs. It is in the leader's memory: a new leader finds out again.
type failing struct {
	logger *slog.Logger

	mu      sync.Mutex
	workers map[string]*streak
}

// streak is what a worker's attempts have come to since its last success.
type streak struct {
	// run is the last that failed, and runs how many times it was another one than before.
	run     string
	runs    int
	avoided time.Duration
	until   time.Time
}

func newFailing(logger *slog.Logger) *failing {
	return &failing{logger: logger, workers: map[string]*streak{}}
}

// restart forgets everything.
func (f *failing) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.workers)
}

// ended notes how an attempt has ended on a worker.
func (f *failing) ended(worker string, outcome *trellisv1.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if outcome.GetSuccess() != nil {
		delete(f.workers, worker)
		return
	}
	failure := outcome.GetFailure()
	class := failure.GetClass()
	if class != trellisv1.FailureClass_FAILURE_CLASS_TRAINER && class != trellisv1.FailureClass_FAILURE_CLASS_WORKER {
		return
	}
	s := f.workers[worker]
	if s == nil {
		s = &streak{}
		f.workers[worker] = s
	}
	if run := outcome.GetStudy() + "/" + outcome.GetRun(); run != s.run {
		s.run = run
		s.runs++
	}
	if class == trellisv1.FailureClass_FAILURE_CLASS_WORKER {
		s.runs = max(s.runs, failingRuns) // The worker says so itself.
	}
	if s.runs < failingRuns {
		return
	}
	now := time.Now()
	if s.avoided == 0 {
		s.avoided = avoidAtFirst
		f.logger.Warn("everything fails on this worker; it is given runs more and more seldom until one succeeds",
			"worker", worker, "runs", s.runs, "last", failure.GetMessage())
	} else if !now.Before(s.until) {
		// The slots that were filled before it was avoided fail together: they count as one.
		s.avoided = min(2*s.avoided, avoidAtMost)
	}
	s.until = now.Add(s.avoided)
}

// avoided says whether the worker is to be given no runs for now.
func (f *failing) avoided(worker string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.workers[worker]
	return s != nil && now.Before(s.until)
}

// forget forgets workers that are not among those that live.
func (f *failing) forget(live []*trellisv1.Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := make(map[string]*streak, len(f.workers))
	for _, worker := range live {
		if s := f.workers[worker.GetName()]; s != nil {
			kept[worker.GetName()] = s
		}
	}
	f.workers = kept
}
