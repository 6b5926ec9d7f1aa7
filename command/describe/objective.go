package describe

import (
	"fmt"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
	"trellis/results/pruning"
)

// Objective says in words what the trials of a study are ranked by.
type Objective struct {
	of      *trellisv1.Objective
	program bool
}

// ObjectiveOf returns the objective of a study with the spec.
func ObjectiveOf(spec *trellisv1.StudySpec) Objective {
	return Objective{objective.Of(spec), spec.GetProgram() != nil}
}

// ObjectiveIn returns the objective of a run's configuration.
func ObjectiveIn(run *trellisv1.RunConfig) Objective {
	return Objective{run.GetObjective(), run.GetProgram() != nil}
}

// IsDefault says whether it is the lowest validation loss of a model.
func (o Objective) IsDefault() bool { return o.of == nil }

// OfProgram says whether a program reports it.
func (o Objective) OfProgram() bool { return o.program }

// Name is the metric's name, as a program writes it or as a model's is read: validation accuracy.
func (o Objective) Name() string {
	if o.program {
		return objective.Metric(o.of)
	}
	return strings.ReplaceAll(objective.Metric(o.of), "_", " ")
}

// Counts says in parentheses which values count, with a space before it. It is empty if the best does.
func (o Objective) Counts() string {
	switch objective.Summary(o.of) {
	case trellisv1.Objective_SUMMARY_LAST:
		return " (last)"
	case trellisv1.Objective_SUMMARY_MEAN:
		return fmt.Sprintf(" (mean of the last %d)", o.of.GetEpochs())
	}
	return ""
}

// Note says in parentheses which values count and are better, with a space before it. It is empty for the default.
func (o Objective) Note() string {
	if o.IsDefault() {
		return ""
	}
	direction := "minimize"
	if objective.Maximizes(o.of) {
		direction = "maximize"
	}
	switch objective.Summary(o.of) {
	case trellisv1.Objective_SUMMARY_LAST:
		return fmt.Sprintf(" (last, %s)", direction)
	case trellisv1.Objective_SUMMARY_MEAN:
		return fmt.Sprintf(" (mean of the last %d, %s)", o.of.GetEpochs(), direction)
	}
	return fmt.Sprintf(" (%s)", direction)
}

// Ranking says what ranks trials, in which direction and by which epoch: val_acc (maximize), at its best epoch.
func (o Objective) Ranking() string {
	text := o.Name() + o.Note()
	if o.IsDefault() {
		text += " (minimize)"
	}
	if objective.Summary(o.of) == trellisv1.Objective_SUMMARY_BEST {
		text += ", at its best epoch"
	}
	return text
}

// Pruning says by which rule the runs of a study are pruned, and of which type it is, or nothing.
func Pruning(spec *trellisv1.StudySpec) string {
	name := pruning.Name(spec.GetPruning())
	if name != "" && pruning.Stops(spec) {
		name += ", of the stopping type: the program does not resume, so a pruned run is ended for good"
	}
	return name
}

// Order says in which order runs are trained, if the spec says so.
func Order(spec *trellisv1.StudySpec) string {
	switch spec.GetOrder() {
	case trellisv1.Order_ORDER_LONGEST:
		return "the longest runs first"
	case trellisv1.Order_ORDER_RANDOM:
		return "random, the same whenever a study has this name"
	case trellisv1.Order_ORDER_AS_WRITTEN:
		return "as the grid is written"
	}
	return ""
}

// Budget says how much of a grid is trained: 500 trials and 8h. It returns "" if all is.
func Budget(spec *trellisv1.StudySpec) string {
	var parts []string
	budget := spec.GetBudget()
	if budget.GetTrials() > 0 {
		parts = append(parts, output.Count(budget.GetTrials(), "trial"))
	}
	if budget.GetEpochs() > 0 {
		parts = append(parts, output.Count(budget.GetEpochs(), "epoch"))
	}
	if budget.GetTime() != nil {
		parts = append(parts, output.ShortDuration(budget.GetTime().AsDuration()))
	}
	return strings.Join(parts, " and ")
}

// Extreme says which of several values is the best: lowest or highest.
func (o Objective) Extreme() string { return Extreme(o.of) }

// Extreme is that of an objective: lowest or highest.
func Extreme(o *trellisv1.Objective) string {
	if objective.Maximizes(o) {
		return "highest"
	}
	return "lowest"
}

// Worse says how worse values compare with better ones: higher or lower.
func (o Objective) Worse() string {
	if objective.Maximizes(o.of) {
		return "lower"
	}
	return "higher"
}

// Loss returns a value of which lower is better: its negative if it is maximized.
func (o Objective) Loss(value float64) float64 { return objective.Loss(o.of, value) }

// Others are the metrics of an epoch without the objective's, which is said anyway if it is that epoch's.
func (o Objective) Others(metrics map[string]float64) map[string]float64 {
	name := objective.Metric(o.of)
	if !o.program {
		var its bool
		if name, its = strings.CutPrefix(name, objective.ValidationPrefix); !its {
			return metrics
		}
	}
	if _, has := metrics[name]; !has || objective.Summary(o.of) == trellisv1.Objective_SUMMARY_MEAN {
		return metrics
	}
	others := make(map[string]float64, len(metrics))
	for other, value := range metrics {
		if other != name {
			others[other] = value
		}
	}
	return others
}

// Results is what trials have the same of: losses, or results where losses don't rank them.
func (o Objective) Results() string {
	if o.IsDefault() {
		return "losses"
	}
	return "results"
}
