package pruning

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Rule decides which runs of a study continue. Results are ranked: lower is better.
type Rule interface {
	// Next returns the first rung after an epoch.
	Next(epoch uint32) uint64
	// Result returns a run's result at a rung. It is +Inf if that is not a finite number.
	Result(reached Reached) float64
	// Best returns how many of the n runs that have reached a rung continue because they are the best there. A held run
	// is promoted when it becomes one of them.
	Best(n int) int
	// Passes says whether a run that has reached a rung continues, given all results at the rung, the run's own result
	// and what it comes from.
	Passes(at *Standings, own Standing, reached Reached) bool
}

// method has the settings of a rule, as in a spec.
type method interface {
	// name returns the rule's name.
	name() string
	// setDefaults sets the settings that the spec leaves out.
	setDefaults()
	// check returns what is wrong with the settings, whose defaults are set, in a study whose longest run has longest
	// epochs.
	check(longest uint32) *Problem
	// rule returns the rule, for runs that wait at rungs or, if stopping, for runs that don't: see Stops. It replaces
	// settings that no valid spec has with the nearest valid ones.
	rule(stopping bool) Rule
}

// methodOf returns the settings of a study's rule, or nil if it prunes nothing. Rules are registered here.
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

// Problem says what is wrong with a setting of a rule.
type Problem struct {
	// Path has the names of the fields that lead from trellisv1.Pruning to the setting.
	Path []string
	Text string
}

// Of returns the rule of a study, or nil if it prunes nothing.
func Of(spec *trellisv1.StudySpec) Rule {
	if by := methodOf(spec.GetPruning()); by != nil {
		return by.rule(Stops(spec))
	}
	return nil
}

// Stops says whether a study's runs are judged while they train on, and ended for good: their program can't resume, so
// that a run which waited at a rung would begin again. Other runs wait at rungs, and are taken up again when they are
// among the best.
func Stops(spec *trellisv1.StudySpec) bool {
	return spec.GetProgram() != nil && !spec.GetProgram().GetResumable()
}

// Name returns the rule's name, or "" if nothing is pruned.
func Name(pruning *trellisv1.Pruning) string {
	if by := methodOf(pruning); by != nil {
		return by.name()
	}
	return ""
}

// WithDefaults returns a copy with the defaults of settings that are left out. It returns nil for nil.
func WithDefaults(pruning *trellisv1.Pruning) *trellisv1.Pruning {
	pruning = proto.CloneOf(pruning)
	if by := methodOf(pruning); by != nil {
		by.setDefaults()
	}
	return pruning
}

// Check returns what is wrong with settings, whose defaults are set, in a study whose longest run has longest epochs.
// It returns nil if nothing is wrong. The rules in the .proto files already refuse what is wrong in any study.
func Check(pruning *trellisv1.Pruning, longest uint32) *Problem {
	if by := methodOf(pruning); by != nil {
		return by.check(longest)
	}
	return nil
}

// First returns the first epoch at which runs are judged, or 0 if they never are.
func First(pruning *trellisv1.Pruning) uint32 {
	if by := methodOf(pruning); by != nil {
		return uint32(by.rule(false).Next(0))
	}
	return 0
}

// neverJudges returns the problem of a rule whose first rung, which is one of its settings, is beyond the longest run.
// It returns nil if it is not.
func neverJudges(first, longest uint32, path ...string) *Problem {
	if first < longest {
		return nil
	}
	return &Problem{path, fmt.Sprintf("runs would be judged from epoch %d on, but none is longer than %d: lower min_epochs, "+
		"train longer, or leave pruning out", first, longest)}
}

// finiteOrLast returns the result if it is finite, and otherwise +Inf, which ranks last.
func finiteOrLast(result float64) float64 {
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return math.Inf(1)
	}
	return result
}
