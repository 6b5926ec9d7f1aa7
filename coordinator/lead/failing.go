package lead

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// failingRuns is how many different runs of a study must fail on a worker, one after the other and without a success
	// in between, before it is given no more of them for a while.
	failingRuns = 3
	// avoidAtFirst is how long the worker is then avoided. Every further failure doubles this, up to avoidAtMost.
	avoidAtFirst = 5 * time.Second
	avoidAtMost  = 5 * time.Minute
	// restAtFirst is how long a run waits that its program has handed back by itself, without a new epoch. Each time after
	// that doubles it, up to avoidAtMost.
	restAtFirst = 5 * time.Second
)

const (
	unfit         = trellisv1.AvoidanceReason_AVOIDANCE_REASON_UNFIT
	othersSucceed = trellisv1.AvoidanceReason_AVOIDANCE_REASON_OTHERS_SUCCEED
	studyFails    = trellisv1.AvoidanceReason_AVOIDANCE_REASON_STUDY_FAILS
)

// failing knows the workers on which runs keep failing. Such a worker is always free, so it would get one run after
// another.
//
// Where the runs of a study fail on a worker, it may be the worker's fault, or the study's: the worker is given none of
// this study, so that others need not wait. So it is where the worker says itself that it can't train: its disk may have no
// room for one data set, and what another study needs. It is given nothing at all only where a run that failed on it has
// succeeded on another worker. What a worker can do is known from its successes: each makes good what was held against it,
// but for the runs of other studies.
//
// It also knows the runs that their programs hand back without a new epoch: what they wait for may come, but not at once.
//
// All of this is in the leader's memory: a new leader finds out again.
type failing struct {
	logger *slog.Logger

	mu sync.Mutex
	// streaks are those of a worker, by study.
	streaks map[string]map[string]*streak
	// rests are those of runs, by study and id.
	rests map[[2]string]*rest
}

// rest is how long a run waits.
type rest struct {
	time  time.Duration
	until time.Time
}

// streak is what a worker's attempts at the runs of a study have come to since its last success.
type streak struct {
	// runs are those that have failed.
	runs map[string]bool
	// reason is why the worker is avoided, if it is.
	reason  trellisv1.AvoidanceReason
	message string
	avoided time.Duration
	until   time.Time
}

// whole says whether the worker is avoided for the runs of all studies.
func (s *streak) whole() bool { return s.reason == othersSucceed }

func newFailing(logger *slog.Logger) *failing {
	return &failing{logger: logger, streaks: map[string]map[string]*streak{}, rests: map[[2]string]*rest{}}
}

// restart forgets everything.
func (f *failing) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.streaks)
	clear(f.rests)
}

// ended records how an attempt has ended on a worker.
func (f *failing) ended(worker string, outcome *trellisv1.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	study, run, failure := outcome.GetStudy(), outcome.GetRun(), outcome.GetFailure()
	if failure.GetClass() == trellisv1.FailureClass_FAILURE_CLASS_RETURNED {
		f.rest(study, run)
		return
	}
	delete(f.rests, [2]string{study, run})
	switch {
	case outcome.GetSuccess() != nil:
		f.succeeded(worker, study, run)
	case failure.GetClass() == trellisv1.FailureClass_FAILURE_CLASS_WORKER:
		s := f.streak(worker, study)
		s.reason, s.message = unfit, failure.GetMessage()
		f.avoid(worker, study, s)
	case failure.GetClass() == trellisv1.FailureClass_FAILURE_CLASS_TRAINER:
		s := f.streak(worker, study)
		s.runs[run], s.message = true, failure.GetMessage()
		if len(s.runs) >= failingRuns {
			f.avoid(worker, study, s)
		}
	}
}

// rest lets a run wait. Those that have waited long ago, or have ended otherwise, are forgotten.
func (f *failing) rest(study, run string) {
	now := time.Now()
	maps.DeleteFunc(f.rests, func(_ [2]string, r *rest) bool { return now.Sub(r.until) > 2*avoidAtMost })
	key := [2]string{study, run}
	r := f.rests[key]
	if r == nil {
		r = &rest{time: restAtFirst}
		f.rests[key] = r
	} else {
		r.time = min(2*r.time, avoidAtMost)
	}
	r.until = now.Add(r.time)
	f.logger.Warn("a program hands its run back without a new epoch; it is tried less and less often", "study", study,
		"run", run, "pause", r.time)
}

// resting says whether a run must wait for now.
func (f *failing) resting(study, run string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rests[[2]string{study, run}]
	return r != nil && now.Before(r.until)
}

func (f *failing) streak(worker, study string) *streak {
	its := f.streaks[worker]
	if its == nil {
		its = map[string]*streak{}
		f.streaks[worker] = its
	}
	if its[study] == nil {
		its[study] = &streak{runs: map[string]bool{}, reason: studyFails}
	}
	return its[study]
}

// succeeded makes good what was held against the worker, and is held against the others on which the run has failed.
func (f *failing) succeeded(worker, study, run string) {
	delete(f.streaks[worker], study)
	for _, s := range f.streaks[worker] {
		s.reason = studyFails
	}
	for other, its := range f.streaks {
		if s := its[study]; s != nil && s.runs[run] && s.reason == studyFails {
			s.reason = othersSucceed
			if s.avoided > 0 {
				f.warn(other, study, s)
			}
		}
	}
}

// avoid starts a time during which the worker is avoided, or extends it.
func (f *failing) avoid(worker, study string, s *streak) {
	now := time.Now()
	if s.avoided == 0 {
		s.avoided = avoidAtFirst
		f.warn(worker, study, s)
	} else if !now.Before(s.until) {
		// The runs that it got before it was avoided fail together: they count as one.
		s.avoided = min(2*s.avoided, avoidAtMost)
	}
	s.until = now.Add(s.avoided)
}

func (f *failing) warn(worker, study string, s *streak) {
	what := map[trellisv1.AvoidanceReason]string{
		unfit: "this worker can't train the runs of this study; it gets them less and less often until one succeeds",
		othersSucceed: "runs fail on this worker and succeed on others; it gets runs less and less often until one " +
			"succeeds",
		studyFails: "the runs of this study fail on this worker, one after the other; it gets them less and less " +
			"often until one succeeds",
	}[s.reason]
	f.logger.Warn(what, "worker", worker, "study", study, "runs", len(s.runs), "last", s.message)
}

// avoids says whether the worker must get no runs of a study for now.
func (f *failing) avoids(worker, study string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for of, s := range f.streaks[worker] {
		if (of == study || s.whole()) && now.Before(s.until) {
			return true
		}
	}
	return false
}

// avoided returns why the worker is avoided now, by study. If it gets no runs at all, that is the only reason returned.
func (f *failing) avoided(worker string, now time.Time) []*trellisv1.Avoidance {
	f.mu.Lock()
	defer f.mu.Unlock()
	var whole, partly []*trellisv1.Avoidance
	for study, s := range f.streaks[worker] {
		if !now.Before(s.until) {
			continue
		}
		avoidance := &trellisv1.Avoidance{Reason: s.reason, Until: timestamppb.New(s.until), Message: s.message}
		if s.whole() {
			whole = append(whole, avoidance)
			continue
		}
		avoidance.Study = study
		partly = append(partly, avoidance)
	}
	if len(whole) > 0 {
		last := slices.MaxFunc(whole, func(a, b *trellisv1.Avoidance) int {
			return a.GetUntil().AsTime().Compare(b.GetUntil().AsTime())
		})
		return []*trellisv1.Avoidance{last}
	}
	slices.SortFunc(partly, func(a, b *trellisv1.Avoidance) int { return cmp.Compare(a.GetStudy(), b.GetStudy()) })
	return partly
}

// forget forgets workers that are no longer live.
func (f *failing) forget(live []*trellisv1.Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := make(map[string]map[string]*streak, len(f.streaks))
	for _, worker := range live {
		if its := f.streaks[worker.GetName()]; its != nil {
			kept[worker.GetName()] = its
		}
	}
	f.streaks = kept
}
