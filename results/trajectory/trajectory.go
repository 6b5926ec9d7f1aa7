package trajectory

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
)

// Trajectory is what is known of a run. One that is stored is never changed, but replaced; the methods that change one
// are for a copy of it that nobody else has yet.
type Trajectory struct {
	Run *trellisv1.Run
	// Losses are nil before the first epoch.
	Losses *trellisv1.Losses
	// Answers are the trials that have been answered, by milestone.
	Answers []*trellisv1.Trial
}

// Clone returns a copy for changing. It shares what changes only by being replaced.
func (t *Trajectory) Clone() *Trajectory {
	return &Trajectory{Run: CopyRun(t.Run), Losses: t.Losses, Answers: t.Answers}
}

// Answer gives the next of a run's trials its result, which is what its run says now. The trial has the index.
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

// AnswerRest answers the trials that are left of a run that has ended. The indexes are those of all its trials, by
// milestone.
func (t *Trajectory) AnswerRest(indexes []uint64) {
	for len(t.Answers) < len(t.Run.Milestones) {
		t.Answer(indexes[len(t.Answers)])
	}
}

// AnswerAgain answers the trials that a run has been given after it had passed their ends, in their places among the
// others. The indexes are those of all its trials, by milestone.
func (t *Trajectory) AnswerAgain(indexes []uint64) {
	run, answered := t.Run, t.Answers
	t.Answers = make([]*trellisv1.Trial, 0, AnsweredTrials(run))
	for i, epochs := range run.Milestones[:AnsweredTrials(run)] {
		if len(answered) > 0 && answered[0].Parameters.GetMaxEpochs() == epochs {
			t.Answers, answered = append(t.Answers, answered[0]), answered[1:]
			continue
		}
		t.Answers = append(t.Answers, lateAnswer(t, epochs, indexes[i]))
	}
}

// Trial is the run's trial at a milestone as it stands: its answer if it has one, else what the run says. It has the
// index.
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

// NewTrial is the run's trial with the given epochs, as long as nothing is known of it.
func NewTrial(run *trellisv1.Run, epochs uint32, index uint64) *trellisv1.Trial {
	return &trellisv1.Trial{
		Study: run.Study, Index: index, Parameters: ParametersAt(run, epochs), Run: run.Id,
		State: lifecycle.TrialPending,
	}
}

// ParametersAt are those of the run's trial with the given epochs. They share the values on the model's own axes.
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
	trial.Epochs, trial.BestEpoch, trial.Objective = run.Epochs, run.BestEpoch, run.BestValidationLoss
	if run.Epochs > 0 && run.BestValidationLoss == nil {
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

// Unanswered is the state of the trials of a run that have not been answered.
func Unanswered(run *trellisv1.Run) trellisv1.TrialState { return unanswered[run.State] }

// lateAnswer is the trial of a run with the given epochs as it would have been answered when the run had come so far.
func lateAnswer(from *Trajectory, epochs uint32, index uint64) *trellisv1.Trial {
	run := from.Run
	trial := NewTrial(run, epochs, index)
	trial.State = lifecycle.TrialSucceeded
	trial.Epochs = min(epochs, run.Epochs)
	objective, bestEpoch := math.NaN(), uint32(0)
	for i, loss := range from.Losses.ValidationLoss[:trial.Epochs] {
		// As in advance: among equals the earliest, and never one that is not finite.
		if !math.IsNaN(loss) && !math.IsInf(loss, 0) && !(loss >= objective) {
			objective, bestEpoch = loss, uint32(i+1)
		}
	}
	trial.Objective, trial.BestEpoch = &objective, bestEpoch
	trial.Metrics = ValidationMetrics(from.Losses, bestEpoch)
	if at, known := testedAt(from.Losses, trial.Epochs); known {
		takeTest(trial, from.Losses, at)
	}
	return trial
}
