package answer

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// TrialList is a List of trials that has a column for each metric that they have. It holds trials back until it is told
// that these are known: a table or a CSV has its columns before its rows.
type TrialList struct {
	out     io.Writer
	format  output.Format
	columns []output.Column[trial]
	// Whole says that trials of studies with other metrics may come: nothing is written before Close.
	Whole bool
	// ByEpoch says that there are columns for what metrics were in each epoch. Their names end with EpochSuffix: a program
	// has the same names for both.
	ByEpoch     bool
	EpochSuffix string

	// metrics are those of the best epoch, epochMetrics those by epoch.
	metrics, epochMetrics map[string]bool
	held                  []trial
	// list is nil until the columns are known.
	list *output.List[trial]
}

// NewTrialList returns a list that writes trials with these columns, and with those of their metrics.
func NewTrialList(out io.Writer, format output.Format, columns []output.Column[trial]) *TrialList {
	l := &TrialList{
		out: out, format: format, columns: columns, metrics: map[string]bool{},
		epochMetrics: map[string]bool{},
	}
	if format != output.Table && format != output.CSV {
		l.list = output.NewList(out, format, "trials", columns)
	}
	return l
}

// Add writes one trial, or holds it back.
func (l *TrialList) Add(t trial) error {
	if l.list != nil {
		return l.list.Add(t)
	}
	l.learn(t)
	l.held = append(l.held, t)
	return nil
}

// learn takes a trial's metrics to be those of all others too: models report the same of all their runs.
func (l *TrialList) learn(t trial) {
	for _, name := range metricsOf(t) {
		l.metrics[name] = true
	}
	for name := range t.GetEpochMetrics() {
		l.epochMetrics[name] = true
	}
}

// release writes what has been held back: the metrics are known.
func (l *TrialList) release() error {
	if l.list != nil {
		return nil
	}
	columns := withMetrics(l.columns, slices.Sorted(maps.Keys(l.metrics)))
	if l.ByEpoch {
		for _, name := range slices.Sorted(maps.Keys(l.epochMetrics)) {
			columns = append(columns, seriesOf(name, l.EpochSuffix))
		}
	}
	l.list = output.NewList(l.out, l.format, "trials", columns)
	for _, t := range l.held {
		if err := l.list.Add(t); err != nil {
			return err
		}
	}
	l.held = nil
	return nil
}

// Close ends the document. A table of nothing is the sentence empty instead.
func (l *TrialList) Close(empty string) error {
	if err := l.release(); err != nil {
		return err
	}
	return l.list.Close(empty)
}

// releaseAfter is called after each page of a study's trials but the last, so that a long CSV is written as it comes.
// If none of the first trials has been trained, the best one tells which metrics there are.
func (l *TrialList) releaseAfter(ctx context.Context, c *client.Client, study string) error {
	if l.format != output.CSV || l.list != nil || l.Whole {
		return nil
	}
	if len(l.metrics) == 0 {
		best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: study})
		if err != nil && !client.IsUnanswered(err) {
			return err
		}
		l.learn(best.GetTrial())
	}
	if err := l.release(); err != nil {
		return err
	}
	return l.list.Flush()
}

// lossesPageSize is PageSize for trials with their losses, of which there may be 20,000 each.
const lossesPageSize = 100

// ListTrials writes the trials that the request asks for, at most limit of them if it is not 0. It returns how many
// there are.
func ListTrials(
	ctx context.Context, env *cli.Environment, c *client.Client, format output.Format,
	request *trellisv1.ListTrialsRequest, limit uint64,
) (total uint64, err error) {
	columns, program := TrialColumns(nil), false
	if format == output.Table || format == output.CSV {
		response, err := client.Call(ctx, client.CallTimeout, c.GetStudy,
			&trellisv1.GetStudyRequest{Study: request.GetStudy()})
		if err != nil {
			return 0, err
		}
		columns, program = ColumnsOf(response.GetStudy().GetSpec()), response.GetStudy().GetSpec().GetProgram() != nil
	}
	if request.GetLosses() && !program {
		columns = append(columns[:len(columns):len(columns)], lossColumns...)
	}
	list := NewTrialList(env.Out, format, columns)
	list.ByEpoch = request.GetLosses()
	if program {
		list.EpochSuffix = "_by_epoch"
	}
	read, err := EachTrial(ctx, c, request, limit, list)
	if err != nil {
		return 0, err
	}
	if err := list.Close("No trial meets the condition."); err != nil {
		return 0, err
	}
	if read.Moved {
		fmt.Fprintln(env.Err, movedNotice(limit))
	}
	return read.Total, nil
}

// movedNotice says what a list may be like whose trials moved while it was read.
func movedNotice(limit uint64) string {
	if limit > 0 {
		return "The study changed while its trials were listed: they may be out of order, and some may be missing."
	}
	return "The study changed while its trials were listed: they may be out of order."
}

// EachTrial adds every trial that the request asks for to a list, each once, or the first limit of them, and returns what
// was read.
func EachTrial(
	ctx context.Context, c *client.Client, request *trellisv1.ListTrialsRequest, limit uint64, list *TrialList,
) (client.TrialsRead, error) {
	if request.GetLosses() {
		request.PageSize = lossesPageSize
	}
	begun := false
	return c.EachTrialPage(ctx, client.TrialListing{Request: request, Limit: limit},
		func(page *trellisv1.ListTrialsResponse) error {
			if begun {
				if err := list.releaseAfter(ctx, c, request.GetStudy()); err != nil {
					return err
				}
			}
			begun = true
			for _, trial := range page.GetTrials() {
				if err := list.Add(trial); err != nil {
					return err
				}
			}
			return nil
		})
}
