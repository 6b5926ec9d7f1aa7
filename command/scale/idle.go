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
	_, err := l.watchIdle(ctx, waiting{*workers, *each, *sessions, *watch, *lease})
	return err
}

// waiting is a crowd of workers that get nothing, and how long they are watched.
type waiting struct {
	workers, each, sessions int
	watch, lease            time.Duration
}

// watchIdle connects workers and returns what they cost.
func (l *lab) watchIdle(ctx context.Context, its waiting) (figures idleFigures, err error) {
	coordinator, err := l.startCoordinator(ctx, "--lease", its.lease.String(), "--limits",
		fmt.Sprintf("sessions=%[1]d,sessions-each=%[1]d,calls=%[2]d,calls-each=%[2]d", its.workers+1,
			2*its.workers+100))
	if err != nil {
		return figures, err
	}
	_, before := coordinator.memory()
	for first := 0; first < its.workers; first += its.each {
		if _, err := l.startCrowd(crowd{
			address: l.address, first: first, count: min(its.each, its.workers-first), sessions: its.sessions, slots: 1,
		}); err != nil {
			return figures, err
		}
	}
	start := time.Now()
	if err := l.awaitWorkers(ctx, its.workers); err != nil {
		return figures, err
	}
	fmt.Fprintf(l.out, "%d workers connected after %v\n", its.workers, time.Since(start).Round(time.Second))
	l.record(coordinator)
	used, from := coordinator.processorTime(), time.Now()
	figures = idleFigures{taken: takenNow(), Workers: its.workers}
	select {
	case <-time.After(its.watch):
	case <-ctx.Done():
		return figures, context.Cause(ctx)
	}
	took := time.Since(from)
	used = coordinator.processorTime() - used
	now, _ := coordinator.memory()
	figures.Cores = used.Seconds() / took.Seconds()
	figures.BytesEach = float64(max(0, now-before)) / float64(its.workers)
	fmt.Fprintf(l.out, "%d idle workers, lease %v, for %v: %.3f of a core, %.1f kB a worker, load %s\n", its.workers,
		its.lease, took.Round(time.Second), figures.Cores, figures.BytesEach/1e3, figures.Load)
	if err := l.awaitWorkers(ctx, its.workers); err != nil {
		return figures, err
	}
	return figures, l.checkLogs("worker lost", "session: ")
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
