package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// latency keeps many slots busy and measures how long a slot is free: from the moment at which a worker sends a run's
// outcome until it has its next run. Both the outcome and the lease are on disk by then.
func latency(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("latency", flag.ContinueOnError)
	slots := flags.Int("slots", 1000, "`number` of slots in all")
	each := flags.Int("each", 10, "`number` of slots of each worker")
	epochs := flags.Int("epochs", 10, "`number` of epochs of each run")
	epochTime := flags.Duration("epoch-time", 500*time.Millisecond, "mean `time` of an epoch")
	watch := flags.Duration("for", 30*time.Second, "`time` to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	coordinator, err := l.startCoordinator(ctx)
	if err != nil {
		return err
	}
	ends := watch.Seconds() + 30
	runs := *slots + int(ends/(float64(*epochs)*epochTime.Seconds())*float64(*slots)*2)
	if _, err := l.studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{Spec: syntheticStudy("scale", runs, *epochs,
		*epochTime)}); err != nil {
		return err
	}
	workers := (*slots + *each - 1) / *each
	crowd, err := l.startCrowd(crowd{address: l.address, count: workers, sessions: 1, slots: *each})
	if err != nil {
		return err
	}
	if err := l.awaitWorkers(ctx, workers); err != nil {
		return err
	}
	// All slots start together. After a few runs each, they end one by one.
	if err := pause(ctx, time.Duration(2**epochs)**epochTime); err != nil {
		return err
	}
	skipped, err := l.waits(crowd)
	if err != nil {
		return err
	}
	l.record(coordinator)
	used, from, loaded := coordinator.processorTime(), time.Now(), load()
	if err := pause(ctx, *watch); err != nil {
		return err
	}
	took := time.Since(from)
	used = coordinator.processorTime() - used
	waits, err := l.waits(crowd)
	if err != nil {
		return err
	}
	waits = waits[len(skipped):]
	if len(waits) == 0 {
		return errors.New("no slot became free")
	}
	slices.Sort(waits)
	at := func(part float64) float64 { return float64(waits[int(part*float64(len(waits)-1))]) / 1e3 }
	fmt.Fprintf(l.out, "%d slots, %.0f runs/s, %.0f reports/s: a slot was free for %.1f ms at the median, "+
		"%.1f ms at the 90th percentile, %.1f ms at the 99th, %.1f ms at most; the coordinator used %.2f of a core, "+
		"load %s\n",
		*slots, float64(len(waits))/took.Seconds(), float64(len(waits)**epochs)/took.Seconds(), at(0.5), at(0.9),
		at(0.99), at(1), used.Seconds()/took.Seconds(), loaded)
	return l.checkLogs("worker lost", "session: ")
}

// waits returns how long slots have waited so far, in microseconds, in the order in which they got their runs.
func (l *lab) waits(of *process) (waits []int, err error) {
	content, err := os.ReadFile(filepath.Join(l.dir, of.name+".log"))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Fields(string(content)) {
		if wait, err := strconv.Atoi(line); err == nil {
			waits = append(waits, wait)
		}
	}
	return waits, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
