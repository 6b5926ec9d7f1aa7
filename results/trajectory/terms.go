package trajectory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
	"trellis/results/pruning"
)

// Terms are what a study says about the reports of its runs, as far as they are recorded by it. They never change. Nil
// are those of most studies: a model's runs, ranked by their lowest validation loss.
type Terms struct {
	// Program is what reports, unless a model does.
	Program *trellisv1.Program
	// Objective is complete. Nil: the lowest validation loss.
	Objective *trellisv1.Objective
}

// TermsOf returns the terms of a study.
func TermsOf(spec *trellisv1.StudySpec) *Terms {
	if o := objective.Of(spec); spec.GetProgram() != nil || o != nil {
		return &Terms{Program: spec.GetProgram(), Objective: o}
	}
	return nil
}

func (t *Terms) program() *trellisv1.Program {
	if t == nil {
		return nil
	}
	return t.Program
}

func (t *Terms) objective() *trellisv1.Objective {
	if t == nil {
		return nil
	}
	return t.Objective
}

// OfObjective returns the study's objective, nil for the lowest validation loss.
func (t *Terms) OfObjective() *trellisv1.Objective { return t.objective() }

// OfProgram says whether a program reports, not a model.
func (t *Terms) OfProgram() bool { return t.program() != nil }

// ChecksPrefix says whether max_epochs is declared to have no influence on the first epochs of a run, and that can be
// checked.
func (t *Terms) ChecksPrefix() bool { return t.OfProgram() && t.Repeatable() && t.Program.GetPrefix() }

// Repeatable says whether an epoch that is trained again has the same reports, bit for bit.
func (t *Terms) Repeatable() bool { return t.program() == nil || t.Program.GetDeterministic() }

// EpochsIn returns how many epochs reports or losses are of.
func EpochsIn(of interface {
	GetEpochs() uint32
	GetTrainLoss() []float64
},
) int {
	// A program says so, and has no losses.
	if epochs := of.GetEpochs(); epochs > 0 {
		return int(epochs)
	}
	return len(of.GetTrainLoss())
}

// BestOf returns a run's objective so far, with the metric's own sign. It is nil if that is not a finite number, or if
// there is none yet.
func BestOf(run *trellisv1.Run) *float64 {
	if run.Objective != nil {
		return run.Objective
	}
	return run.BestValidationLoss
}

// score returns the run's objective so far.
func (t *Trajectory) score() objective.Score {
	if value := BestOf(t.Run); value != nil {
		return objective.Score{Value: *value, Epoch: t.Run.BestEpoch}
	}
	return objective.Score{}
}

// values are those of the objective's metric.
func (t *Trajectory) values() objective.Values {
	return objective.In(t.Losses, objective.Metric(t.Terms.objective()))
}

// ReachedAt returns what the run has come to at a rung at which it counts.
func (t *Trajectory) ReachedAt(rung uint32) pruning.Reached {
	return pruning.At(t.Terms.objective(), t.values(), rung)
}

// scoreAt returns the objective after an epoch that the run has passed.
func (t *Trajectory) scoreAt(epoch uint32) objective.Score {
	return objective.ScoreAt(t.Terms.objective(), t.values(), epoch)
}

// setScore records the objective and the last losses after the run's last epoch.
func (t *Trajectory) setScore(score objective.Score) {
	run, o := t.Run, t.Terms.objective()
	if t.Terms.program() == nil {
		run.TrainLoss, run.ValidationLoss = t.Losses.TrainLoss[run.Epochs-1], t.Losses.ValidationLoss[run.Epochs-1]
	}
	if o != nil {
		run.Metric = nil
		if value, epoch := t.values().Last(run.Epochs); epoch > 0 {
			run.Metric = &value
		}
	}
	if score == t.score() {
		return
	}
	var value *float64
	if score.Epoch > 0 {
		value = &score.Value
	}
	if run.BestEpoch = score.Epoch; o == nil {
		run.BestValidationLoss = value
	} else {
		run.Objective = value
	}
}

// WithoutObjective says which metric of the objective a run did not report, and which metrics it did.
func (t *Trajectory) WithoutObjective() string {
	const most = 10
	names := slices.Sorted(maps.Keys(t.Losses.GetMetrics()))
	switch n := len(names); {
	case n == 0:
		names = []string{"none"}
	case n > most:
		names = append(names[:most], fmt.Sprintf("%d others", n-most))
	}
	return fmt.Sprintf("did not report %s; reported: %s", objective.Metric(t.Terms.objective()), strings.Join(names, ", "))
}

// LacksObjective says whether a run has epochs, and none of them has a value of the objective's metric.
func (t *Trajectory) LacksObjective() bool {
	if t.Run.Epochs == 0 {
		return false
	}
	_, epoch := t.values().Last(t.Run.Epochs)
	return epoch == 0
}
