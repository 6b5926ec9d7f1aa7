package describe

import (
	"fmt"
	"strings"
	"time"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// PlannedTime writes the rows of a plan that say how much is to be trained, and how long that takes if it begins at the time at.
// ofThese says more about how much, unless it is empty.
func PlannedTime(
	row func(name, format string, values ...any), spec *trellisv1.StudySpec, f *trellisv1.Forecast, ofThese string, at time.Time,
) {
	// A forecast of no confidence is a bound.
	atMost, intervals := "at most ", ""
	if f.GetConfidence() > 0 {
		atMost = ""
		if f.GetEpochs().GetLow() < f.GetEpochs().GetHigh() || f.GetSeconds().GetLow() < f.GetSeconds().GetHigh() {
			intervals = fmt.Sprintf("; within the bounds in %s of cases", output.Percent(f.GetConfidence()))
		}
	}
	row("to train", "%s%s", atMost, Estimate(f.GetEpochs(), WholeNumber, " epochs"))
	if ofThese != "" {
		row("of these", "%s", ofThese)
	}
	if f.GetSecondsPerEpoch() > 0 {
		row("time per epoch", "%s", output.ShortSeconds(f.GetSecondsPerEpoch()))
	}
	switch {
	case f.GetSeconds() != nil:
		row("time", "%s%s", atMost, Estimate(f.GetSeconds(), output.ShortSeconds,
			" on "+output.Count(uint64(f.GetSlots()), "slot")))
		row("if started now", "%s", End(f, at))
	case spec.GetProgram() != nil && f.GetSlots() > 0:
		row("time", "unknown: no epoch of this program has been trained yet")
	case f.GetSlots() == 0 && f.GetBasis().GetUnsuited():
		row("time", "unknown: no worker has what a run needs")
	case f.GetSlots() == 0:
		row("time", "unknown: there are no workers yet")
	case f.GetSecondsPerEpoch() == 0 && f.GetBasis() == nil:
		row("time", "unknown: no epoch has been measured")
	}
	var others []string
	for _, other := range f.GetAlternatives() {
		if f.GetSeconds() != nil && other.GetSlots() == f.GetSlots() {
			continue // That was said; the alternatives are of fewer simulations, on slots that are all alike.
		}
		others = append(others, fmt.Sprintf("%s on %d", output.ShortSeconds(other.GetSeconds()), other.GetSlots()))
	}
	if others != nil {
		row("by slots", "%s%s", atMost, strings.Join(others, ", "))
	}
	if spec.GetProgram() == nil || f.GetSeconds() != nil {
		row("estimated from", "%s%s", Basis(spec, f), intervals)
	}
}

// Sizes says how large networks are, from the smallest to the largest, what an epoch costs, and what a run
// needs.
func Sizes(smallest, largest *trellisv1.ModelSize) string {
	weights, operations := output.Grouped(largest.GetWeights()), largest.GetOperations()
	gigas := func(operations float64) string { return output.ShortNumber(operations / 1e9) }
	cost := gigas(operations)
	if smallest.GetWeights() != largest.GetWeights() {
		weights = output.Grouped(smallest.GetWeights()) + " to " + weights
	}
	if low := gigas(smallest.GetOperations()); low != cost {
		cost = low + " to " + cost
	}
	return fmt.Sprintf("%s weights; %s GFLOP an epoch; up to %s of memory a run, without its data", weights, cost,
		output.ShortBytes(largest.GetMemory()))
}
