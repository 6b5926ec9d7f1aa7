package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	running   = trellisv1.StudyState_STUDY_STATE_RUNNING
	paused    = trellisv1.StudyState_STUDY_STATE_PAUSED
	completed = trellisv1.StudyState_STUDY_STATE_COMPLETED
	canceled  = trellisv1.StudyState_STUDY_STATE_CANCELED
	// absent stands for a study that there is none of.
	absent = trellisv1.StudyState_STUDY_STATE_UNSPECIFIED
)

// states is a set of states.
type states uint

func one(state trellisv1.StudyState) states { return 1 << state }

func (s states) has(state trellisv1.StudyState) bool { return s&one(state) != 0 }

func (s states) String() string {
	var names []string
	for state := absent; state <= canceled; state++ {
		if s.has(state) {
			names = append(names, strings.TrimPrefix(state.String(), "STUDY_STATE_"))
		}
	}
	return strings.Join(names, " or ")
}

// after is what a study may be once it was in a state: one that runs may complete by itself.
func after(state trellisv1.StudyState) states {
	if state == running {
		return one(running) | one(completed)
	}
	return one(state)
}

// record is what was acknowledged of one study, kept outside of the coordinators. Its methods return an error where
// they find that something is not so any more, or never could be.
type record struct {
	spec *trellisv1.StudySpec
	// fresh says that reads are answered by a coordinator that has applied all that was acknowledged. A follower may
	// lag.
	fresh bool
	// calm says that no worker is lost, so that no attempt may fail.
	calm bool

	// mu is held during calls that change the study, so that may is exact whenever it can be taken.
	mu sync.Mutex
	// may is what the study can be, open what of that only calls would make it which were not answered: they may still
	// be carried out, until a later call is answered or the coordinator has started again.
	may, open states
	// deletions counts the calls that may have deleted it.
	deletions int

	// guard is for what reads have shown.
	guard sync.Mutex
	shown shown
}

// shown is what reads have shown of a study: no later read may show less.
type shown struct {
	// index is the study's last.
	index uint64
	// runs and trials have their epochs, ended the trials that were answered or canceled.
	runs   map[string]uint32
	trials map[uint64]uint32
	ended  map[uint64]trellisv1.TrialState
}

func newRecord(spec *trellisv1.StudySpec, fresh bool) *record {
	return &record{spec: spec, fresh: fresh, may: one(absent), shown: nothingShown()}
}

func nothingShown() shown {
	return shown{runs: map[string]uint32{}, trials: map[uint64]uint32{}, ended: map[uint64]trellisv1.TrialState{}}
}

// floor is what reads have shown by now. A read that begins later may not show less; one that is under way may.
func (r *record) floor() *shown {
	r.guard.Lock()
	defer r.guard.Unlock()
	if !r.fresh {
		return &shown{runs: map[string]uint32{}}
	}
	return &shown{
		index: r.shown.index, runs: maps.Clone(r.shown.runs), trials: maps.Clone(r.shown.trials),
		ended: maps.Clone(r.shown.ended),
	}
}

// errLost wraps what must never happen.
var errLost = errors.New("violation")

func (r *record) lost(format string, args ...any) error {
	return fmt.Errorf("%w: study %s: %w", errLost, r.spec.GetName(), fmt.Errorf(format, args...))
}

// change makes a call that takes the study to a state, or to none, and notes what was answered. It returns whether the
// change was acknowledged.
func (r *record) change(ctx context.Context, c *client, to trellisv1.StudyState) (acknowledged bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := r.spec.GetName()
	switch {
	case to == running && r.may.has(absent):
		_, err = c.CreateStudy(ctx, &trellisv1.CreateStudyRequest{Spec: r.spec})
	case to == running:
		_, err = c.ResumeStudy(ctx, &trellisv1.ResumeStudyRequest{Study: name})
	case to == paused:
		_, err = c.PauseStudy(ctx, &trellisv1.PauseStudyRequest{Study: name})
	case to == canceled:
		_, err = c.CancelStudy(ctx, &trellisv1.CancelStudyRequest{Study: name})
	case to == absent:
		_, err = c.DeleteStudy(ctx, &trellisv1.DeleteStudyRequest{Study: name})
		r.deletions++
		// Should it be created again, it begins at the beginning.
		r.guard.Lock()
		r.shown = nothingShown()
		r.guard.Unlock()
	}
	switch {
	case err == nil:
		r.may, r.open = after(to), 0
		return true, nil
	case uncertain(err):
		r.may |= after(to)
		r.open |= after(to)
		return false, nil
	case status.Code(err) == codes.NotFound:
		if !r.may.has(absent) {
			return false, r.lost("it is gone, but was %v: %w", r.may, err)
		}
		r.may, r.open = one(absent), 0
		return false, nil
	case status.Code(err) == codes.AlreadyExists:
		if r.may == one(absent) {
			return false, r.lost("it was never created, or deleted, and exists: %w", err)
		}
		r.may &^= one(absent)
		return false, nil
	case status.Code(err) == codes.FailedPrecondition:
		// The move is illegal from the state that it is in: it has completed, or an unanswered call was carried out.
		return false, nil
	default:
		return false, r.lost("move it from %v to %v: %w", r.may, to, err)
	}
}

// check reads the study and its trials and compares them with what was acknowledged and shown before. Errors of the
// connection are returned as they are: see errLost.
func (r *record) check(ctx context.Context, c *client) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	floor := r.floor()
	study, err := c.getStudy(ctx, r.spec.GetName())
	state := study.GetState()
	switch {
	case status.Code(err) == codes.NotFound:
		state = absent
	case err != nil:
		return err
	}
	if !r.may.has(state) {
		return r.lost("it is %v, but by what was acknowledged it is %v", one(state), r.may)
	}
	if r.fresh {
		r.may = after(state) | r.open
	}
	if state == absent {
		return nil
	}
	if err := r.seeStudy(floor, study); err != nil {
		return err
	}
	trials, err := c.listTrials(ctx, r.spec.GetName())
	if err != nil {
		return err
	}
	if len(trials) != int(study.GetProgress().GetTrials()) {
		return r.lost("it has %d trials and lists %d", study.GetProgress().GetTrials(), len(trials))
	}
	for _, trial := range trials {
		if err := r.seeTrial(floor, trial); err != nil {
			return err
		}
	}
	return nil
}

func (r *record) seeStudy(floor *shown, study *trellisv1.Study) error {
	if study.GetModifyIndex() < floor.index {
		return r.lost("its last change has index %d, and had %d before", study.GetModifyIndex(), floor.index)
	}
	floor.index = study.GetModifyIndex()
	r.guard.Lock()
	defer r.guard.Unlock()
	r.shown.index = max(r.shown.index, floor.index)
	return nil
}

func (r *record) seeTrial(floor *shown, trial *trellisv1.Trial) error {
	if err := checkTrial(r.spec, trial); err != nil {
		return r.lost("%w", err)
	}
	index, state, epochs := trial.GetIndex(), trial.GetState(), trial.GetEpochs()
	if epochs < floor.trials[index] {
		return r.lost("trial %d has %d epochs, and had %d before", index, epochs, floor.trials[index])
	}
	if before, ended := floor.ended[index]; ended && before != state {
		return r.lost("trial %d is %v, and was %v before", index, state, before)
	}
	r.guard.Lock()
	defer r.guard.Unlock()
	r.shown.trials[index] = max(r.shown.trials[index], epochs)
	switch state {
	case trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, trellisv1.TrialState_TRIAL_STATE_CANCELED:
		r.shown.ended[index] = state
	case trellisv1.TrialState_TRIAL_STATE_FAILED:
		return r.lost("trial %d has failed: %s", index, trial.GetError())
	}
	return nil
}

func (r *record) seeRun(floor *shown, run *trellisv1.Run) error {
	if err := checkRun(r.spec, run); err != nil {
		return r.lost("%w", err)
	}
	if r.calm && len(run.GetFailures()) > 0 {
		return r.lost("attempts at run %s have failed: %v", run.GetId(), run.GetFailures())
	}
	id, epochs := run.GetId(), run.GetEpochs()
	if epochs < floor.runs[id] {
		return r.lost("run %s has %d epochs, and had %d before", id, epochs, floor.runs[id])
	}
	floor.runs[id] = epochs
	r.guard.Lock()
	defer r.guard.Unlock()
	r.shown.runs[id] = max(r.shown.runs[id], epochs)
	return nil
}

// follow watches the study through all interruptions until it has ended or is deleted, and notes what the watch shows.
func (r *record) follow(ctx context.Context, c *client) error {
	var since uint64
	for ctx.Err() == nil {
		floor := r.floor()
		deletions, mayBeAbsent := r.absence()
		err := c.watch(ctx, r.spec.GetName(), since, func(response *trellisv1.WatchStudyResponse) error {
			since = response.GetIndex()
			if err := r.seeStudy(floor, response.GetStudy()); err != nil {
				return err
			}
			for _, run := range response.GetRuns() {
				if err := r.seeRun(floor, run); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case err == nil, errors.Is(err, errLost):
			return err
		case status.Code(err) == codes.NotFound && r.mayBe(absent):
			return nil
		case status.Code(err) == codes.NotFound && (mayBeAbsent || r.deletedSince(deletions)):
			// It was deleted, and has been created again since.
		case status.Code(err) == codes.NotFound && r.fresh:
			return r.lost("a watch found none: %w", err)
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

// checkRestarted is check for a coordinator that has started again: what it has not done by now of what was asked
// before, it never will.
func (r *record) checkRestarted(ctx context.Context, c *client) error {
	r.mu.Lock()
	r.open = 0
	r.mu.Unlock()
	return r.check(ctx, c)
}

// absence returns how many calls may have deleted the study, and whether it may be absent now.
func (r *record) absence() (deletions int, mayBeAbsent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deletions, r.may.has(absent)
}

func (r *record) deletedSince(deletions int) bool {
	now, _ := r.absence()
	return now > deletions
}

func (r *record) mayBe(state trellisv1.StudyState) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.may.has(state)
}

// checkCompleted checks a study that has completed undisturbed by its user: every trial answered, each epoch once, all
// counts right.
func (r *record) checkCompleted(ctx context.Context, c *client) error {
	study, err := c.getStudy(ctx, r.spec.GetName())
	if err != nil {
		return err
	}
	floor := r.floor()
	trials, err := c.listTrials(ctx, r.spec.GetName())
	if err != nil {
		return err
	}
	runs := map[string]*trellisv1.Run{}
	if err := c.watch(ctx, r.spec.GetName(), 0, func(response *trellisv1.WatchStudyResponse) error {
		for _, run := range response.GetRuns() {
			runs[run.GetId()] = run
		}
		return nil
	}); err != nil {
		return err
	}
	longest := map[string]int{}
	var alone uint64
	for _, trial := range trials {
		alone += uint64(trial.GetEpochs())
		if trial.GetState() != trellisv1.TrialState_TRIAL_STATE_SUCCEEDED {
			return r.lost("it has completed, but trial %d is %v", trial.GetIndex(), trial.GetState())
		}
		if err := r.seeTrial(floor, trial); err != nil {
			return err
		}
		longest[trial.GetRun()] = max(longest[trial.GetRun()], len(trial.GetValidationLoss()))
	}
	var epochs uint64
	for id, run := range runs {
		if run.GetState() != trellisv1.RunState_RUN_STATE_SUCCEEDED || int(run.GetEpochs()) != longest[id] {
			return r.lost("run %s is %v with %d epochs, its trials have %d", id, run.GetState(), run.GetEpochs(),
				longest[id])
		}
		epochs += uint64(run.GetEpochs())
	}
	p := study.GetProgress()
	want := &trellisv1.Progress{
		Trials: uint64(len(trials)), TrialsSucceeded: uint64(len(trials)), Runs: uint64(len(longest)),
		RunsSucceeded: uint64(len(runs)), Epochs: epochs, TrainingSeconds: p.GetTrainingSeconds(),
		EpochsAlone: alone,
	}
	if !proto.Equal(p, want) {
		return r.lost("its progress is %v, want %v", p, want)
	}
	return nil
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sorted is the keys of a map in their order.
func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
