package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// throughput trains a study of runs that take no time, with a coordinator and real workers.
func throughput(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("throughput", flag.ContinueOnError)
	trials := flags.Int("trials", 100_000, "`number` of trials, each a run of its own")
	epochs := flags.Int("epochs", 10, "`number` of epochs of each")
	workers := flags.Int("workers", 2, "`number` of workers")
	slots := flags.Int("slots", 256, "`number` of slots of each worker")
	if err := flags.Parse(args); err != nil {
		return err
	}
	coordinator, err := l.startCoordinator(ctx)
	if err != nil {
		return err
	}
	var its []*process
	for n := range *workers {
		p, err := l.start(fmt.Sprint("worker-", n+1), "worker", "--coordinator", l.address,
			"--slots", strconv.Itoa(*slots), "--cache-dir", filepath.Join(l.dir, "cache"))
		if err != nil {
			return err
		}
		its = append(its, p)
	}
	if err := l.awaitWorkers(ctx, *workers); err != nil {
		return err
	}
	l.record(append(its, coordinator)...)
	fmt.Fprintf(l.out, "%d trials of %d epochs, %d workers of %d slots, load %s\n", *trials, *epochs, *workers, *slots,
		load())
	start := time.Now()
	if _, err := l.studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{Spec: syntheticStudy("scale", *trials,
		*epochs, 0)}); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "created after %v\n", time.Since(start).Round(time.Millisecond))
	if err := l.followTenths(ctx, "scale", coordinator, its); err != nil {
		return err
	}
	bytes, err := diskUse(filepath.Join(l.dir, "data"))
	if err != nil {
		return err
	}
	fmt.Fprintf(l.out, "disk: %d MB, %d bytes a trial\n", bytes>>20, bytes/int64(*trials))
	return nil
}

// stretch is what has been done and used at some moment.
type stretch struct {
	at                   time.Time
	trials, epochs       uint64
	coordinator, workers time.Duration
}

// followTenths prints a line for each tenth of a study as it is trained, and one for all of it.
func (l *lab) followTenths(ctx context.Context, study string, coordinator *process, workers []*process) error {
	look := func() (stretch, uint64, error) {
		response, err := l.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: study})
		if err != nil {
			return stretch{}, 0, err
		}
		progress := response.GetStudy().GetProgress()
		s := stretch{
			at: time.Now(), trials: progress.GetTrialsSucceeded() + progress.GetTrialsDiverged(),
			epochs: progress.GetEpochs(), coordinator: coordinator.processorTime(),
		}
		for _, worker := range workers {
			s.workers += worker.processorTime()
		}
		if failed := progress.GetTrialsFailed(); failed > 0 {
			return s, 0, fmt.Errorf("%d trials have failed", failed)
		}
		return s, progress.GetTrials(), nil
	}
	first, all, err := look()
	if err != nil {
		return err
	}
	fmt.Fprintln(l.out, "tenth  trials/s  reports/s  µs a trial: coordinator  workers  MB now  most")
	line := func(name string, from, to stretch) {
		seconds, trials := to.at.Sub(from.at).Seconds(), float64(to.trials-from.trials)
		now, most := coordinator.memory()
		fmt.Fprintf(l.out, "%5s  %8.0f  %9.0f  %23.0f  %7.0f  %6d  %4d\n", name, trials/seconds,
			float64(to.epochs-from.epochs)/seconds, (to.coordinator-from.coordinator).Seconds()*1e6/trials,
			(to.workers-from.workers).Seconds()*1e6/trials, now>>20, most>>20)
	}
	last, tenth := first, uint64(1)
	for last.trials < all {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now, _, err := look()
		if err != nil {
			return err
		}
		if now.trials*10 < tenth*all {
			continue
		}
		line(fmt.Sprint(now.trials*10/all), last, now)
		last, tenth = now, now.trials*10/all+1
	}
	line("all", first, last)
	return nil
}

// syntheticStudy is a study of so many runs of so many epochs.
func syntheticStudy(name string, runs, epochs int, epochTime time.Duration) *trellisv1.StudySpec {
	const rates = 100
	rate := make([]float64, min(runs, rates))
	for i := range rate {
		rate[i] = 1e-4 * float64(i+1)
	}
	decay := make([]float64, min(max(1, runs/rates), 500))
	for i := range decay {
		decay[i] = 1e-6 * float64(i)
	}
	seeds := make([]uint32, max(1, runs/len(rate)/len(decay)))
	for i := range seeds {
		seeds[i] = uint32(i + 1)
	}
	return &trellisv1.StudySpec{
		Name: name, Model: trainer.Synthetic, Seeds: trellisv1.AxisOf(seeds...),
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(16), "learning_rate": trellisv1.AxisOf(rate...),
			"weight_decay": trellisv1.AxisOf(decay...), "max_epochs": trellisv1.AxisOf(epochs),
		}}},
		Synthetic: &trellisv1.Synthetic{EpochTime: durationpb.New(epochTime)},
	}
}
