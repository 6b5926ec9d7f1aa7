package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// idle connects simulated workers that hold nothing, and measures what they cost the coordinator.
func idle(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	workers := flags.Int("workers", 10_000, "`number` of workers")
	each := flags.Int("each", 5000, "`number` of workers of each process")
	sessions := flags.Int("sessions", 1, "`number` of workers on a connection, to stay below a limit on open files")
	watch := flags.Duration("for", time.Minute, "`time` to measure")
	lease := flags.Duration("lease", 15*time.Second, "`time` that a worker may be silent")
	if err := flags.Parse(args); err != nil {
		return err
	}
	coordinator, err := l.startCoordinator(ctx, "--lease", lease.String(), "--limits",
		fmt.Sprintf("sessions=%[1]d,sessions-each=%[1]d,calls=%[2]d,calls-each=%[2]d", *workers+1, 2**workers+100))
	if err != nil {
		return err
	}
	_, before := coordinator.memory()
	for first := 0; first < *workers; first += *each {
		if _, err := l.startCrowd(crowd{
			address: l.address, first: first, count: min(*each, *workers-first), sessions: *sessions, slots: 1,
		}); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := l.awaitWorkers(ctx, *workers); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "%d workers connected after %v\n", *workers, time.Since(start).Round(time.Second))
	l.record(coordinator)
	used, from, loaded := coordinator.processorTime(), time.Now(), load()
	select {
	case <-time.After(*watch):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	took := time.Since(from)
	used = coordinator.processorTime() - used
	now, _ := coordinator.memory()
	fmt.Fprintf(l.out, "%d idle workers, lease %v, for %v: %.3f of a core, %.1f kB a worker, load %s\n", *workers,
		*lease, took.Round(time.Second), used.Seconds()/took.Seconds(), float64(now-before)/1e3/float64(*workers),
		loaded)
	if err := l.awaitWorkers(ctx, *workers); err != nil {
		return err
	}
	return l.checkLogs("worker lost", "session: ")
}

// checkLogs fails if a process has written one of the texts.
func (l *lab) checkLogs(texts ...string) error {
	for _, p := range l.processes {
		content, err := os.ReadFile(filepath.Join(l.dir, p.name+".log"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(content)) {
			for _, text := range texts {
				if strings.Contains(line, text) {
					return fmt.Errorf("%s: %s", p.name, strings.TrimSpace(line))
				}
			}
		}
	}
	return nil
}
