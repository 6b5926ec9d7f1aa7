package command

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// trialList is a listWriter of trials that has a column for each metric that they have. It holds trials back until it is told
// that these are known: a table or a CSV has its columns before its rows.
type trialList struct {
	out     io.Writer
	format  outputFormat
	columns []column[trial]
	// whole says that trials of studies with other metrics may come: nothing is written before Close.
	whole bool

	// metrics are those of the best epoch, epochMetrics those by epoch.
	metrics, epochMetrics map[string]bool
	held                  []trial
	// list is nil until the columns are known.
	list *listWriter[trial]
}

func newTrialList(out io.Writer, format outputFormat, columns []column[trial]) *trialList {
	l := &trialList{out: out, format: format, columns: columns, metrics: map[string]bool{}, epochMetrics: map[string]bool{}}
	if format != formatTable && format != formatCSV {
		l.list = newListWriter(out, format, "trials", columns)
	}
	return l
}

// Add writes one trial, or holds it back.
func (l *trialList) Add(t trial) error {
	if l.list != nil {
		return l.list.Add(t)
	}
	l.learn(t)
	l.held = append(l.held, t)
	return nil
}

// learn takes a trial's metrics to be those of all others too: models report the same of all their runs.
func (l *trialList) learn(t trial) {
	for _, name := range metricsOf(t) {
		l.metrics[name] = true
	}
	for name := range t.GetEpochMetrics() {
		l.epochMetrics[name] = true
	}
}

// release writes what has been held back: the metrics are known.
func (l *trialList) release() error {
	if l.list != nil {
		return nil
	}
	columns := withMetrics(l.columns, slices.Sorted(maps.Keys(l.metrics)))
	if slices.ContainsFunc(columns, func(c column[trial]) bool { return c.name == lossColumns[0].name }) {
		for _, name := range slices.Sorted(maps.Keys(l.epochMetrics)) {
			columns = append(columns, losses(name, func(t trial) []float64 { return t.GetEpochMetrics()[name].GetValues() }))
		}
	}
	l.list = newListWriter(l.out, l.format, "trials", columns)
	for _, t := range l.held {
		if err := l.list.Add(t); err != nil {
			return err
		}
	}
	l.held = nil
	return nil
}

// Close ends the document. A table of nothing is the sentence empty instead.
func (l *trialList) Close(empty string) error {
	if err := l.release(); err != nil {
		return err
	}
	return l.list.Close(empty)
}

// releaseAfter is called after each page of a study's trials but the last, so that a long CSV is written as it comes. If none of
// the first trials has been trained, the best one tells which metrics there are.
func (l *trialList) releaseAfter(ctx context.Context, c *client, study string) error {
	if l.format != formatCSV || l.list != nil || l.whole {
		return nil
	}
	if len(l.metrics) == 0 {
		best, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: study})
		if err != nil && !isUnanswered(err) {
			return err
		}
		l.learn(best.GetTrial())
	}
	if err := l.release(); err != nil {
		return err
	}
	return l.list.flush()
}

// metricsOf returns the names of a trial's metrics, in order.
func metricsOf(t trial) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(t.GetMetrics())), maps.Keys(t.GetTestMetrics()))
	slices.Sort(names)
	return slices.Compact(names)
}

// withMetrics returns the columns with those of metrics, of the validation and of the test images, behind the losses.
func withMetrics(columns []column[trial], names []string) []column[trial] {
	behind := 1 + slices.IndexFunc(columns, func(c column[trial]) bool { return c.name == "test_loss" })
	var its []column[trial]
	for _, name := range names {
		its = append(its,
			metric(name, name, (*trellisv1.Trial).GetMetrics), metric("test_"+name, name, (*trellisv1.Trial).GetTestMetrics))
	}
	return slices.Insert(slices.Clone(columns), behind, its...)
}

func metric(header, name string, get func(trial) map[string]float64) column[trial] {
	return loss(header, func(t trial) *float64 { return metricIn(get(t), name) })
}

func metricIn(metrics map[string]float64, name string) *float64 {
	value, ok := metrics[name]
	if !ok {
		return nil
	}
	return &value
}

// metricRows writes a trial's metrics, one to a row. Prefix stands before their names.
func metricRows(row func(name, format string, values ...any), prefix string, metrics map[string]float64) {
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		row(prefix+strings.ReplaceAll(name, "_", " "), "%s", shortLoss(metrics[name]))
	}
}
