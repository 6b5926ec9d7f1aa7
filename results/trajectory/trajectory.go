package trajectory

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/objective"
)

// Trajectory is a run with its losses and the results of its trials. A stored trajectory is never changed, only
// replaced. Call the methods that change one only on a copy that nobody else has.
type Trajectory struct {
	Run *trellisv1.Run
	// Terms are those of its study.
	Terms *Terms
	// Losses is nil before the first epoch.
	Losses *trellisv1.Losses
	// Answers are the trials with results, by milestone.
	Answers []*trellisv1.Trial
}

// Clone returns a copy that may be changed. It shares the parts that are only ever replaced.
func (t *Trajectory) Clone() *Trajectory {
	return &Trajectory{Run: CopyRun(t.Run), Terms: t.Terms, Losses: t.Losses, Answers: t.Answers}
}

// Answer gives the next of a run's trials, which has the index, its result: the run's current state.
func (t *Trajectory) Answer(index uint64) {
	run := t.Run
	milestone := len(t.Answers)
	trial := NewTrial(run, run.Milestones[milestone], index)
	trial.State = lifecycle.TrialSucceeded
	takeLosses(trial, t)
	takeTest(trial, t.Losses, run.Epochs)
	if milestone > 0 && t.Answers[milestone-1].BestEpoch == trial.BestEpoch {
		trial.Metrics = t.Answers[milestone-1].Metrics
	}
	t.Answers = append(slices.Clip(t.Answers), trial)
}

// AnswerRest gives the remaining trials of a run that has ended their results. indexes has the indexes of all its
// trials, by milestone.
func (t *Trajectory) AnswerRest(indexes []uint64) {
	for len(t.Answers) < len(t.Run.Milestones) {
		t.Answer(indexes[len(t.Answers)])
	}
}

// AnswerAgain gives results to the trials that were added to a run after it had passed their ends, or whose ends it passed
// before the objective's metric was first reported, in their places among the others. indexes has the indexes of all its trials, by milestone.
func (t *Trajectory) AnswerAgain(indexes []uint64) {
	run, answered := t.Run, t.Answers
	t.Answers = make([]*trellisv1.Trial, 0, AnsweredTrials(run))
	for i, epochs := range run.Milestones[:AnsweredTrials(run)] {
		if len(answered) > 0 && answered[0].Parameters.GetMaxEpochs() == epochs {
			t.Answers, answered = append(t.Answers, answered[0]), answered[1:]
			continue
		}
		t.Answers = append(t.Answers, lateAnswer(t, epochs, indexes[i], &memory{}))
	}
}

// Trial returns the run's trial at a milestone, which has the index: its result if it has one, otherwise what follows
// from the run.
func (t *Trajectory) Trial(milestone uint32, index uint64) *trellisv1.Trial {
	if int(milestone) < len(t.Answers) {
		return t.Answers[milestone]
	}
	run := t.Run
	trial := NewTrial(run, run.Milestones[milestone], index)
	trial.State, trial.Error = Unanswered(run), run.Error
	takeLosses(trial, t)
	return trial
}

// NewTrial returns the run's trial with the given epochs, without any result.
func NewTrial(run *trellisv1.Run, epochs uint32, index uint64) *trellisv1.Trial {
	return &trellisv1.Trial{
		Study: run.Study, Index: index, Parameters: ParametersAt(run, epochs), Run: run.Id,
		State: lifecycle.TrialPending,
	}
}

// ParametersAt returns the parameters of the run's trial with the given epochs. They share the values on the model's
// own axes.
func ParametersAt(run *trellisv1.Run, epochs uint32) *trellisv1.Parameters {
	p := run.Parameters
	if p.GetMaxEpochs() == epochs {
		return p
	}
	return grid.WithMaxEpochs(p, epochs)
}

// takeLosses sets what a trial has of its run so far.
func takeLosses(trial *trellisv1.Trial, its *Trajectory) {
	run := its.Run
	trial.Epochs, trial.BestEpoch, trial.Objective = run.Epochs, run.BestEpoch, BestOf(run)
	if run.Epochs > 0 && trial.Objective == nil && !Unranked(run) {
		trial.Objective = proto.Float64(math.NaN())
	}
	trial.Metrics = ValidationMetrics(its.Losses, run.BestEpoch)
}

// unanswered says how a trial that has not been answered stands, by the state of its run.
var unanswered = map[trellisv1.RunState]trellisv1.TrialState{
	lifecycle.RunPending:  lifecycle.TrialPending,
	lifecycle.RunLeased:   lifecycle.TrialRunning,
	lifecycle.RunFailed:   lifecycle.TrialFailed,
	lifecycle.RunCanceled: lifecycle.TrialCanceled,
	lifecycle.RunPruned:   lifecycle.TrialPruned,
}

// Unanswered returns the state of a run's trials that have no result.
func Unanswered(run *trellisv1.Run) trellisv1.TrialState { return unanswered[run.State] }

// StateOfUntouched returns the state of runs that nobody has given anything to.
func StateOfUntouched(untouched *trellisv1.Untouched) trellisv1.RunState {
	switch untouched.GetState() {
	case lifecycle.TrialFailed:
		return lifecycle.RunFailed
	case lifecycle.TrialCanceled:
		return lifecycle.RunCanceled
	}
	return lifecycle.RunPending
}

// ObjectiveAt returns the objective of the trial of a run with the given epochs, which the run has passed.
func (t *Trajectory) ObjectiveAt(epochs uint32) *float64 {
	return objectiveOf(t.scoreAt(min(epochs, t.Run.Epochs)))
}

// objectiveOf is not a number where there is no score.
func objectiveOf(score objective.Score) *float64 {
	if score.Epoch == 0 {
		return proto.Float64(math.NaN())
	}
	return &score.Value
}

// lateAnswer is the trial of a run with the given epochs as it would have been answered when the run had come so far.
func lateAnswer(from *Trajectory, epochs uint32, index uint64, in *memory) *trellisv1.Trial {
	run := from.Run
	trial := next(&in.trials)
	trial.Study, trial.Index, trial.Parameters, trial.Run = run.Study, index, ParametersAt(run, epochs), run.Id
	trial.State = lifecycle.TrialSucceeded
	trial.Epochs = min(epochs, run.Epochs)
	score := from.scoreAt(trial.Epochs)
	trial.Objective, trial.BestEpoch = objectiveOf(score), score.Epoch
	trial.Metrics = ValidationMetrics(from.Losses, score.Epoch)
	if at, known := from.testedAt(trial.Epochs, score); known {
		takeTest(trial, from.Losses, at)
	}
	return trial
}
