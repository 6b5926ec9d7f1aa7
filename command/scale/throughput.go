package main

import (
	"context"
	"errors"
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
	_, _, err := l.train(ctx, training{trials: *trials, epochs: *epochs, workers: *workers, slots: *slots})
	return err
}

// training is a study that is trained, and who trains it.
type training struct {
	trials, epochs int
	// slots are of each worker.
	workers, slots int
	// ask says that somebody asks about it all the time.
	ask bool
}

// studyName is the study that is trained.
const studyName = "scale"

// train creates a study, trains it to its end and returns what that took, and the coordinator. The study waits until
// the workers are there.
func (l *lab) train(ctx context.Context, its training) (sizeFigures, *process, error) {
	figures := sizeFigures{taken: takenNow(), Trials: its.trials, Epochs: its.epochs}
	coordinator, err := l.startCoordinator(ctx)
	if err != nil {
		return figures, nil, err
	}
	before, _ := coordinator.memory()
	start := time.Now()
	if _, err := l.studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{
		Spec: syntheticStudy(studyName, its.trials, its.epochs, 0),
	}); err != nil {
		return figures, nil, err
	}
	figures.CreateSeconds = time.Since(start).Seconds()
	after, _ := coordinator.memory()
	figures.CreateBytes = max(0, after-before)
	if _, err := l.studies.PauseStudy(ctx, &trellisv1.PauseStudyRequest{Study: studyName}); err != nil {
		return figures, nil, err
	}
	var workers []*process
	for n := range its.workers {
		p, err := l.start(fmt.Sprint("worker-", n+1), "worker", "--coordinator", l.address,
			"--slots", strconv.Itoa(its.slots), "--cache-dir", filepath.Join(l.dir, "cache"))
		if err != nil {
			return figures, nil, err
		}
		workers = append(workers, p)
	}
	if err := l.awaitWorkers(ctx, its.workers); err != nil {
		return figures, nil, err
	}
	l.record(append(workers, coordinator)...)
	fmt.Fprintf(l.out, "%d trials of %d epochs, %d workers of %d slots, load %s\n", its.trials, its.epochs, its.workers,
		its.slots, figures.Load)
	fmt.Fprintf(l.out, "created in %.0f ms with %.1f MB\n", figures.CreateSeconds*1e3,
		float64(figures.CreateBytes)/(1<<20))
	follow := func() error { return l.followTenths(ctx, studyName, coordinator, workers, &figures) }
	if its.ask {
		figures.Queries, err = l.askWhile(follow)
	} else {
		err = follow()
	}
	if err != nil {
		return figures, nil, err
	}
	figures.DiskBytes, err = diskUse(filepath.Join(l.dir, "data"))
	fmt.Fprintf(l.out, "disk: %d MB, %d bytes a trial\n", figures.DiskBytes>>20,
		figures.DiskBytes/int64(its.trials))
	return figures, coordinator, err
}

// askWhile asks about a study while something is done, and returns the medians.
func (l *lab) askWhile(do func() error) (map[string]float64, error) {
	asked, ended, failed := l.newAnswers(studyName), make(chan struct{}), make(chan error, 1)
	go func() { failed <- asked.askUntil(ended) }()
	err := do()
	close(ended)
	if err := errors.Join(err, <-failed); err != nil {
		return nil, err
	}
	return asked.medians()
}

// stretch is what has been done and used at some moment.
type stretch struct {
	at                   time.Time
	trials, epochs       uint64
	coordinator, workers time.Duration
}

// manyTrials take so long that a tenth of them has a rate.
const manyTrials = 100_000

// followTenths starts a study that waits, and prints a line for each tenth of it as it is trained, and one for all of
// it. It adds to the figures what it took.
func (l *lab) followTenths(
	ctx context.Context, study string, coordinator *process, workers []*process, figures *sizeFigures,
) error {
	look := func() (stretch, uint64, error) {
		// Taken before: the first answer about a study that has ended may take longer, and is none of its training.
		s := stretch{at: time.Now(), coordinator: coordinator.processorTime()}
		for _, worker := range workers {
			s.workers += worker.processorTime()
		}
		response, err := l.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: study})
		if err != nil {
			return stretch{}, 0, err
		}
		progress := response.GetStudy().GetProgress()
		s.trials, s.epochs = progress.GetTrialsSucceeded()+progress.GetTrialsDiverged(), progress.GetEpochs()
		if failed := progress.GetTrialsFailed(); failed > 0 {
			return s, 0, fmt.Errorf("%d trials have failed", failed)
		}
		return s, progress.GetTrials(), nil
	}
	machine := newYardstick(readNumbers) // That takes a second.
	first, all, err := look()
	if err != nil {
		return err
	}
	if _, err := l.studies.ResumeStudy(ctx, &trellisv1.ResumeStudyRequest{Study: study}); err != nil {
		return err
	}
	fmt.Fprintln(l.out, "tenth  trials/s  reports/s  µs a trial: coordinator  workers  MB now  most  "+
		"µs of fixed work: sorting  reading")
	line := func(name string, from, to stretch) {
		figures.measure(from, to)
		figures.MemoryBytes, figures.PeakBytes = coordinator.memory()
		fmt.Fprintf(l.out, "%5s  %8.0f  %9.0f  %23.0f  %7.0f  %6d  %4d", name, figures.TrialsPerSecond,
			figures.ReportsPerSecond, figures.CoordinatorMicroseconds, figures.WorkersMicroseconds,
			figures.MemoryBytes>>20, figures.PeakBytes>>20)
		if sorting, reading := machine.tell(); sorting > 0 {
			fmt.Fprintf(l.out, "  %25.0f  %7.0f", sorting, reading)
		}
		fmt.Fprintln(l.out)
	}
	last, tenth := first, uint64(1)
	for last.trials < all {
		// A small study has ended after a tenth of a second.
		if err := pause(ctx, min(100*time.Millisecond, max(5*time.Millisecond, time.Since(first.at)/50))); err != nil {
			return err
		}
		machine.work()
		now, _, err := look()
		if err != nil {
			return err
		}
		if now.trials*10 < tenth*all {
			continue
		}
		line(fmt.Sprint(now.trials*10/all), last, now)
		if now.trials == all && last.trials*10 >= 9*all && all >= manyTrials {
			figures.LastTenth = figures.TrialsPerSecond
		}
		last, tenth = now, now.trials*10/all+1
	}
	line("all", first, last)
	return nil
}

// measure sets what was done between two moments.
func (f *sizeFigures) measure(from, to stretch) {
	trials := float64(to.trials - from.trials)
	f.Seconds = to.at.Sub(from.at).Seconds()
	f.TrialsPerSecond, f.ReportsPerSecond = trials/f.Seconds, float64(to.epochs-from.epochs)/f.Seconds
	f.CoordinatorMicroseconds = (to.coordinator - from.coordinator).Seconds() * 1e6 / trials
	f.WorkersMicroseconds = (to.workers - from.workers).Seconds() * 1e6 / trials
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
