package answer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// withMeanMetrics returns the columns with those of the metrics that the configurations have, behind the others.
func withMeanMetrics(
	columns []output.Column[configuration], configurations []configuration,
) []output.Column[configuration] {
	columns = slices.Clone(columns)
	for _, its := range []struct {
		prefix string
		get    func(configuration) map[string]float64
	}{
		{"", (*trellisv1.Configuration).GetMetrics}, {"test_", (*trellisv1.Configuration).GetTestMetrics},
	} {
		known := map[string]bool{}
		for _, c := range configurations {
			for name := range its.get(c) {
				known[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(known)) {
			value := func(c configuration) *float64 { return describe.MetricIn(its.get(c), name) }
			columns = append(columns, output.Column[configuration]{
				Name:  its.prefix + name + "_mean",
				Plain: func(c configuration) string { return output.Optional(value(c), output.PlainNumber) },
				Short: func(c configuration) string { return shortUnlessDiverged(value(c)) },
				Yield: output.Yield{Spare: 4},
			})
		}
	}
	return columns
}

type configuration = *trellisv1.Configuration

// configurationColumnsOf are those of the configurations of a study with the spec. Programs have no test images.
func configurationColumnsOf(spec *trellisv1.StudySpec) []output.Column[configuration] {
	columns := describe.WithoutConstantShape(configurationColumns(describe.Names(spec)), spec)
	if spec.GetProgram() == nil {
		return columns
	}
	return slices.DeleteFunc(columns, func(c output.Column[configuration]) bool { return c.Name == "test_mean" })
}

// configurationColumns are those of configurations that have the parameters of these names: see describe.Names. They do not
// have the seed, which repeats a configuration.
func configurationColumns(names []string) []output.Column[configuration] {
	return slices.Concat([]output.Column[configuration]{
		output.Both("rank", func(c configuration) string {
			if c.Rank == nil {
				return ""
			}
			return strconv.FormatUint(c.GetRank(), 10)
		}),
	}, describe.ParameterColumns(
		names, (*trellisv1.Configuration).GetParameters,
	), []output.Column[configuration]{
		{
			Name: "seeds", Plain: seedsOf, Short: func(c configuration) string {
				return strconv.Itoa(len(c.GetRepetitions()))
			}, Yield: output.Yield{Same: true, Spare: 2},
		},
		{Name: "objectives", Plain: objectivesOf},
		{
			Name: "mean", Plain: func(c configuration) string { return output.Optional(c.Mean, output.PlainNumber) },
			Short: meanWithInterval,
		},
		{
			Name: "deviation", Plain: func(c configuration) string {
				return output.Optional(c.Deviation, output.PlainNumber)
			},
		},
		bounds("mean_low", configuration.GetInterval, (*trellisv1.Interval).GetLow),
		bounds("mean_high", configuration.GetInterval, (*trellisv1.Interval).GetHigh),
		{
			Name: "difference", Plain: func(c configuration) string {
				return output.Optional(c.Difference, output.PlainNumber)
			}, Short: differenceWithInterval, Yield: output.Yield{Wrap: true, Spare: 1},
		},
		bounds("difference_low", configuration.GetDifferenceInterval, (*trellisv1.Interval).GetLow),
		bounds("difference_high", configuration.GetDifferenceInterval, (*trellisv1.Interval).GetHigh),
		{
			Name: "contender", Plain: func(c configuration) string { return strconv.FormatBool(c.GetContender()) },
			Short: func(c configuration) string {
				if c.GetContender() {
					return "yes"
				}
				return "no"
			},
		},
		{
			Name: "test_mean", Plain: func(c configuration) string {
				return output.Optional(c.TestMean, output.PlainNumber)
			},
			Short: func(c configuration) string { return shortUnlessDiverged(c.TestMean) },
			Yield: output.Yield{Spare: 3},
		},
	})
}

// bounds is one end of an interval, which people read beside what it is an interval of.
func bounds(
	name string, of func(configuration) *trellisv1.Interval, get func(*trellisv1.Interval) float64,
) output.Column[configuration] {
	return output.Column[configuration]{Name: name, Plain: func(c configuration) string {
		if of(c) == nil {
			return ""
		}
		return output.PlainNumber(get(of(c)))
	}}
}

// seedsOf and objectivesOf are separated by spaces, in the same order.
func seedsOf(c configuration) string {
	seeds := make([]string, len(c.GetRepetitions()))
	for i, repetition := range c.GetRepetitions() {
		seeds[i] = strconv.FormatUint(uint64(repetition.GetSeed()), 10)
	}
	return strings.Join(seeds, " ")
}

func objectivesOf(c configuration) string {
	objectives := make([]float64, len(c.GetRepetitions()))
	for i, repetition := range c.GetRepetitions() {
		objectives[i] = repetition.GetObjective()
	}
	return output.Numbers(objectives, output.PlainNumber)
}

// shortUnlessDiverged writes a mean for people, who read that a configuration diverged beside it.
func shortUnlessDiverged(mean *float64) string {
	if mean == nil || !isFinite(*mean) {
		return ""
	}
	return output.ShortLoss(*mean)
}

// meanWithInterval writes Student's interval, which is even on both sides of the mean.
func meanWithInterval(c configuration) string {
	if c.Mean != nil && !isFinite(c.GetMean()) {
		return "diverged"
	}
	text := output.Optional(c.Mean, output.ShortLoss)
	if c.GetInterval() == nil {
		return text
	}
	return text + " ± " + output.ShortLoss((c.GetInterval().GetHigh()-c.GetInterval().GetLow())/2)
}

func differenceWithInterval(c configuration) string {
	text := output.Optional(c.Difference, output.ShortLoss)
	if c.GetDifferenceInterval() == nil {
		return text
	}
	return fmt.Sprintf("%s (%s to %s)", text, output.ShortLoss(c.GetDifferenceInterval().GetLow()),
		output.ShortLoss(c.GetDifferenceInterval().GetHigh()))
}
