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
// outcome until it has its next run. Both the outcome and the lease are on disk by then, so it also measures how long a
// small write to the same disk takes meanwhile.
//
// By default each of 1,000 slots reports an epoch every 0.2 s on average, and its run ends after ten.
func latency(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("latency", flag.ContinueOnError)
	slots := flags.Int("slots", 1000, "`number` of slots in all")
	each := flags.Int("each", 10, "`number` of slots of each worker")
	epochs := flags.Int("epochs", 10, "`number` of epochs of each run")
	epochTime := flags.Duration("epoch-time", 200*time.Millisecond, "mean `time` of an epoch")
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
	used, theirs, from, loaded := coordinator.processorTime(), crowd.processorTime(), time.Now(), load()
	writes, err := l.timeWrites(ctx, *watch)
	if err != nil {
		return err
	}
	took := time.Since(from)
	used, theirs = coordinator.processorTime()-used, crowd.processorTime()-theirs
	waits, err := l.waits(crowd)
	if err != nil {
		return err
	}
	waits = waits[len(skipped):]
	if len(waits) == 0 {
		return errors.New("no slot became free")
	}
	what := fmt.Sprintf("%d slots of %d workers, %d epochs of %v a run: %.0f runs/s, %.0f reports/s", *slots, workers,
		*epochs, *epochTime, float64(len(waits))/took.Seconds(), float64(len(waits)**epochs)/took.Seconds())
	fmt.Fprintf(l.out, "%s, the coordinator used %.2f of a core and the simulated workers %.2f, load %s to %s\n", what,
		used.Seconds()/took.Seconds(), theirs.Seconds()/took.Seconds(), loaded, load())
	fmt.Fprintf(l.out, "a slot was free for %s\n", percentiles(waits))
	fmt.Fprintf(l.out, "a write of 4 KiB and fsync on the same disk took %s\n", percentiles(writes))
	return l.checkLogs(logLost, logEnded)
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

// percentiles says how durations in microseconds are distributed.
func percentiles(micros []int) string {
	slices.Sort(micros)
	at := func(part float64) float64 { return float64(micros[int(part*float64(len(micros)-1))]) / 1e3 }
	return fmt.Sprintf("%.2f ms at the median, %.2f ms at the 90th percentile, %.2f ms at the 99th, %.2f ms at most",
		at(0.5), at(0.9), at(0.99), at(1))
}

// writeInterval is how often timeWrites writes: seldom enough not to matter.
const writeInterval = 20 * time.Millisecond

// timeWrites measures for some time how long small durable writes take on the disk of the data directory, in
// microseconds.
func (l *lab) timeWrites(ctx context.Context, watch time.Duration) (micros []int, err error) {
	file, err := os.Create(filepath.Join(l.dir, "writes"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	block := make([]byte, 4<<10)
	until := time.Now().Add(watch)
	for len(micros) == 0 || time.Now().Before(until) {
		began := time.Now()
		// Over and over the same blocks, which the file system has allocated, as in the coordinator's log.
		if _, err := file.WriteAt(block, int64(len(micros)%256*len(block))); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
		micros = append(micros, int(time.Since(began).Microseconds()))
		if err := pause(ctx, writeInterval); err != nil {
			return nil, err
		}
	}
	return micros, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
