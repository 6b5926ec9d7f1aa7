package worker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/worker/program"
	"trellis/worker/spans"
)

// programReports passes on what a program reports.
type programReports struct {
	worker      *Worker
	attempt     *attempt
	checkpoints *programCheckpoints
	stopping    *programStopping
	// stopped says that the program was told to end, since its run is over: last is its last epoch.
	stopped bool
	last    int
	// ended is when the last epoch ended, or the program was started.
	ended    time.Time
	training *spans.Training
}

// run runs the program. If the checkpoint to resume from can't be unpacked, it starts from epoch 1.
func (r *programReports) run(ctx context.Context, config program.Config, log *slog.Logger) (program.Result, error) {
	_, r.training = r.attempt.span.Train(ctx, config.FirstEpoch-1)
	result, err := r.runFrom(ctx, config, log)
	if errors.Is(err, errStoppedEarly) {
		r.training.End(ctx, nil)
	} else {
		r.training.End(ctx, err)
	}
	return result, err
}

func (r *programReports) runFrom(ctx context.Context, config program.Config, log *slog.Logger) (program.Result, error) {
	report := func(report program.Report) error { return r.report(r.attempt.ctx, report) }
	result, err := program.Run(ctx, config, report)
	var failed *program.Error
	if !errors.As(err, &failed) || failed.Kind != program.BadResume {
		return result, err
	}
	r.worker.logUnusable(log, r.attempt, err)
	config.Resume, config.FirstEpoch = "", 1
	r.checkpoints.best = bestEpoch{objective: r.checkpoints.best.objective}
	r.stopping = newProgramStopping(r.attempt.assignment.GetConfig().GetEarlyStopping(), nil, 0)
	return program.Run(ctx, config, report)
}

// report is called for each report of the program. The context is that of the attempt: what is reported while the program
// ends counts too.
func (r *programReports) report(ctx context.Context, report program.Report) error {
	if r.stopped {
		return errStoppedEarly // What it reports while it ends is not the run's.
	}
	if !report.Addition {
		now := time.Now()
		r.worker.metrics.epochs.Inc()
		r.training.Epoch(report.Epoch, math.NaN())
		r.checkpoints.best.observe(report.Epoch, report.Metrics)
		r.worker.events.put(event{attempt: r.attempt, report: trainer.Report{
			Epoch: report.Epoch, Metrics: report.Metrics, Elapsed: now.Sub(r.ended),
		}})
		r.ended = now
	}
	if report.Checkpoint != nil {
		if err := r.checkpoints.offer(ctx, report.Checkpoint); err != nil {
			return err
		}
	}
	if !report.Addition && r.stopping.observe(report.Metrics) {
		r.stopped, r.last = true, report.Epoch
		return errStoppedEarly
	}
	return nil
}

// packProgram converts reports of consecutive epochs of a program into the message that is sent. A program may report a
// metric for some epochs only.
func (a *attempt) packProgram(reports []trainer.Report) *trellisv1.Reports {
	packed := &trellisv1.Reports{
		Study: a.assignment.GetStudy(), Run: a.assignment.GetRun(), Attempt: a.number(),
		FirstEpoch: uint32(reports[0].Epoch), Epochs: uint32(len(reports)), Seconds: make([]float64, len(reports)),
	}
	names := map[string]bool{}
	for i, report := range reports {
		packed.Seconds[i] = report.Elapsed.Seconds()
		for name := range report.Metrics {
			names[name] = true
		}
	}
	packed.Metrics = make(map[string]*trellisv1.Series, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		series := &trellisv1.Series{Values: make([]float64, len(reports))}
		for i, report := range reports {
			value, reported := report.Metrics[name]
			if series.Values[i] = value; !reported {
				series.Missing = append(series.Missing, uint32(i))
			}
		}
		packed.Metrics[name] = series
	}
	return packed
}
