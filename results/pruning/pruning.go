package pruning

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Rule decides which runs of a study go on. Its results are ranked: lower is better.
type Rule interface {
	// Next is the first rung above an epoch.
	Next(epoch uint32) uint64
	// Result is what validation losses, those up to a rung, are worth: a number, or +Inf if they are worth nothing.
	Result(losses []float64) float64
	// Best is how many of n runs that have come to a rung go on because they are the best there: a run that is held is
	// promoted when it becomes one of them.
	Best(n int) int
	// Passes says whether a run goes on that has come to the end of a stage, by all results at the rung, its own there
	// and its validation losses up to it.
	Passes(at *Standings, own Standing, losses []float64) bool
}

// method is how a spec asks for a rule: the settings of the rule.
type method interface {
	// name is what the rule is called.
	name() string
	// setDefaults sets what the spec leaves out.
	setDefaults()
	// check says what is wrong with the settings, whose defaults are set, in a study whose longest run has so many
	// epochs.
	check(longest uint32) *Problem
	// rule takes settings that no valid spec has for the nearest valid ones.
	rule() Rule
}

// methodOf returns what a study prunes by, nil if it prunes nothing. It is where rules are registered.
func methodOf(pruning *trellisv1.Pruning) method {
	switch by := pruning.GetMethod().(type) {
	case *trellisv1.Pruning_Asha:
		return ashaSettings{by.Asha}
	case *trellisv1.Pruning_Median:
		return medianSettings{by.Median}
	default:
		return nil
	}
}

// Problem is what is wrong with the setting of a rule.
type Problem struct {
	// Path leads from trellisv1.Pruning to the setting, by the names of fields.
	Path []string
	Text string
}

// Of returns the rule of a study, nil if it prunes nothing.
func Of(spec *trellisv1.StudySpec) Rule {
	if by := methodOf(spec.GetPruning()); by != nil {
		return by.rule()
	}
	return nil
}

// Name is what the rule is called, empty if nothing is pruned.
func Name(pruning *trellisv1.Pruning) string {
	if by := methodOf(pruning); by != nil {
		return by.name()
	}
	return ""
}

// WithDefaults returns a copy that has the settings that it leaves out. Nil stays nil.
func WithDefaults(pruning *trellisv1.Pruning) *trellisv1.Pruning {
	pruning = proto.CloneOf(pruning)
	if by := methodOf(pruning); by != nil {
		by.setDefaults()
	}
	return pruning
}

// Check says what is wrong with settings, whose defaults are set, in a study whose longest run has so many epochs. Nil
// if nothing is. What no study may have, the rules of the messages refuse.
func Check(pruning *trellisv1.Pruning, longest uint32) *Problem {
	if by := methodOf(pruning); by != nil {
		return by.check(longest)
	}
	return nil
}

// First is the epoch at which runs are judged first, 0 if they never are.
func First(pruning *trellisv1.Pruning) uint32 {
	if by := methodOf(pruning); by != nil {
		return uint32(by.rule().Next(0))
	}
	return 0
}

// neverJudges is the problem of a rule whose first rung, a setting of it, is beyond the longest run. Nil if it is not.
func neverJudges(first, longest uint32, path ...string) *Problem {
	if first < longest {
		return nil
	}
	return &Problem{path, fmt.Sprintf("runs would be judged from epoch %d on, but none is longer than %d: lower min_epochs, "+
		"train longer, or leave pruning out", first, longest)}
}

// lowest is the lowest finite loss, +Inf if there is none.
func lowest(losses []float64) float64 {
	best := math.Inf(1)
	for _, loss := range losses {
		if loss < best && !math.IsInf(loss, -1) {
			best = loss
		}
	}
	return best
}

// finiteOrLast takes what is no finite number to what ranks last.
func finiteOrLast(result float64) float64 {
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return math.Inf(1)
	}
	return result
}
