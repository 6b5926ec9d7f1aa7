package answer

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// metricsOf returns the names of a trial's metrics, in order.
func metricsOf(t trial) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(t.GetMetrics())), maps.Keys(t.GetTestMetrics()))
	slices.Sort(names)
	return slices.Compact(names)
}

// withMetrics returns the columns with those of metrics, of the validation and of the test images, behind the losses.
// Programs have neither losses nor test images, but metrics alone.
func withMetrics(columns []output.Column[trial], names []string) []output.Column[trial] {
	var its []output.Column[trial]
	last := slices.IndexFunc(columns, func(c output.Column[trial]) bool { return c.Name == "test_loss" })
	tested := last >= 0
	if !tested {
		last = slices.IndexFunc(columns, func(c output.Column[trial]) bool { return c.Name == "epochs" })
	}
	for _, name := range names {
		its = append(its, metric(name, name, (*trellisv1.Trial).GetMetrics))
		if tested {
			its = append(its, metric("test_"+name, name, (*trellisv1.Trial).GetTestMetrics))
		}
	}
	return slices.Insert(slices.Clone(columns), last+1, its...)
}

func metric(header, name string, get func(trial) map[string]float64) output.Column[trial] {
	return loss(header, func(t trial) *float64 { return describe.MetricIn(get(t), name) }).
		Yielding(output.Yield{Spare: 2})
}

// metricRows writes a trial's metrics, one to a row. Prefix stands before their names.
// Those of a program are named as it names them.
func metricRows(
	row func(name, format string, values ...any), ranked describe.Objective, prefix string, metrics map[string]float64,
) {
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if ranked.OfProgram() {
			row(strings.TrimSuffix(prefix, "validation ")+name, "%s", output.ShortLoss(metrics[name]))
			continue
		}
		row(prefix+strings.ReplaceAll(name, "_", " "), "%s", output.ShortLoss(metrics[name]))
	}
}

type trial = *trellisv1.Trial

// ColumnsOf are those of the trials of studies with these specs.
func ColumnsOf(specs ...*trellisv1.StudySpec) []output.Column[trial] {
	columns := describe.WithoutConstantShape(TrialColumns(describe.Names(specs...)), specs...)
	if slices.ContainsFunc(specs, func(spec *trellisv1.StudySpec) bool { return spec.GetProgram() == nil }) {
		return columns
	}
	return slices.DeleteFunc(columns, func(c output.Column[trial]) bool { return c.Name == "test_loss" })
}

// TrialColumns are those of trials that have the parameters of these names: see describe.Names.
func TrialColumns(names []string) []output.Column[trial] {
	return slices.Concat([]output.Column[trial]{
		{Name: "study", Plain: (*trellisv1.Trial).GetStudy},
		output.Both("index", integer((*trellisv1.Trial).GetIndex)),
		output.Both("state", trialState),
	}, describe.ParameterColumns(append(names[:len(names):len(names)], grid.Seed), (*trellisv1.Trial).GetParameters), []output.Column[trial]{
		loss("objective", func(t trial) *float64 { return t.Objective }),
		{
			Name: "best_epoch", Plain: integer((*trellisv1.Trial).GetBestEpoch),
			Short: func(t trial) string {
				if hasNoAnswer(t) {
					return ""
				}
				return integer((*trellisv1.Trial).GetBestEpoch)(t)
			},
		},
		output.Both("epochs", integer((*trellisv1.Trial).GetEpochs)),
		loss("test_loss", func(t trial) *float64 { return t.TestLoss }).Yielding(output.Yield{Spare: 1}),
		{Name: "run", Plain: (*trellisv1.Trial).GetRun},
		{
			Name: "error", Plain: (*trellisv1.Trial).GetError,
			Short: func(t trial) string { return output.OneLine(strings.ReplaceAll(t.GetError(), `\n`, " ")) }, Yield: output.Yield{Wrap: true},
		},
	})
}

// lossColumns hold one loss per epoch, separated by spaces.
var lossColumns = []output.Column[trial]{
	losses("train_loss", (*trellisv1.Trial).GetTrainLoss),
	losses("validation_loss", (*trellisv1.Trial).GetValidationLoss),
}

// hasNoAnswer says that a trial has diverged. A table leaves out what is no number then: NaN at epoch 0 reads as one.
func hasNoAnswer(t trial) bool { return t.GetState() == trellisv1.TrialState_TRIAL_STATE_DIVERGED }

func trialState(t trial) string { return output.EnumWord(t.GetState()) }

func integer[T uint32 | uint64](get func(trial) T) func(trial) string {
	return func(t trial) string { return strconv.FormatUint(uint64(get(t)), 10) }
}

func loss(name string, get func(trial) *float64) output.Column[trial] {
	return output.Column[trial]{
		Name:  name,
		Plain: func(t trial) string { return output.Optional(get(t), output.PlainNumber) },
		Short: func(t trial) string {
			value := get(t)
			if hasNoAnswer(t) && value != nil && (math.IsNaN(*value) || math.IsInf(*value, 0)) {
				return ""
			}
			return output.Optional(value, output.ShortLoss)
		},
	}
}

func losses(name string, get func(trial) []float64) output.Column[trial] {
	return output.Column[trial]{
		Name:  name,
		Plain: func(t trial) string { return output.Numbers(get(t), output.PlainNumber) },
		Short: func(t trial) string { return output.Numbers(get(t), output.ShortLoss) },
	}
}

// seriesOf writes what a metric was in each epoch, and null where it was not reported.
func seriesOf(name, suffix string) output.Column[trial] {
	write := func(number func(float64) string) func(t trial) string {
		return func(t trial) string {
			series := t.GetEpochMetrics()[name]
			texts := make([]string, len(series.GetValues()))
			for i, value := range series.GetValues() {
				texts[i] = number(value)
			}
			for _, i := range series.GetMissing() {
				texts[i] = "null"
			}
			return strings.Join(texts, " ")
		}
	}
	return output.Column[trial]{Name: name + suffix, Plain: write(output.PlainNumber), Short: write(output.ShortLoss)}
}
