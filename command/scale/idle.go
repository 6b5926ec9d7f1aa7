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

// reserve is how many descriptors of a coordinator are not for the connections of simulated workers: it keeps 1,024 for
// its log and other files.
const reserve = 2000

// idle connects simulated workers that hold nothing, and measures what they cost the coordinator. It fails if a lease
// expires: all of them are alive.
func idle(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	workers := flags.Int("workers", 10_000, "`number` of workers")
	each := flags.Int("each", 5000, "`number` of workers of each process")
	sessions := flags.Int("sessions", 0, "`number` of workers on a connection; default: as few as the limit on open files "+
		"allows")
	watch := flags.Duration("for", time.Minute, "`time` to measure")
	lease := flags.Duration("lease", 15*time.Second, "`time` that a worker may be silent")
	if err := flags.Parse(args); err != nil {
		return err
	}
	_, err := l.watchIdle(ctx, waiting{*workers, *each, *sessions, *watch, *lease})
	return err
}

// waiting is a crowd of workers that get nothing, and how long they are watched. No sessions are as few on a connection as
// the limit on open files allows.
type waiting struct {
	workers, each, sessions int
	watch, lease            time.Duration
}

// watchIdle connects workers and returns what they cost.
func (l *lab) watchIdle(ctx context.Context, its waiting) (figures idleFigures, err error) {
	if its.sessions == 0 {
		most := max(1, descriptors()-reserve)
		its.sessions = (its.workers + most - 1) / most
	}
	connections := (its.workers + its.sessions - 1) / its.sessions
	coordinator, err := l.startCoordinator(ctx, "--lease", its.lease.String(), "--limits",
		fmt.Sprintf("sessions=%[1]d,sessions-each=%[1]d,calls=%[2]d,calls-each=%[2]d,connections=%[3]d", its.workers+1,
			2*its.workers+100, connections+100))
	if err != nil {
		return figures, err
	}
	_, before := coordinator.memory()
	start := time.Now()
	for first := 0; first < its.workers; first += its.each {
		if _, err := l.startCrowd(crowd{
			address: l.address, first: first, count: min(its.each, its.workers-first), sessions: its.sessions, slots: 1,
		}); err != nil {
			return figures, err
		}
	}
	if err := l.awaitWorkers(ctx, its.workers); err != nil {
		return figures, err
	}
	fmt.Fprintf(l.out, "%d workers over %d connections, from %d processes: all connected after %.0f s, which took the "+
		"coordinator %.1f s of processor time, load %s\n", its.workers, connections, len(l.processes)-1,
		time.Since(start).Seconds(), coordinator.processorTime().Seconds(), load())
	l.record(coordinator)
	used, from := coordinator.processorTime(), time.Now()
	figures = idleFigures{taken: takenNow(), Workers: its.workers}
	if err := pause(ctx, its.watch); err != nil {
		return figures, err
	}
	took := time.Since(from)
	used = coordinator.processorTime() - used
	now, _ := coordinator.memory()
	figures.Cores = used.Seconds() / took.Seconds()
	figures.BytesEach = float64(max(0, now-before)) / float64(its.workers)
	fmt.Fprintf(l.out, "%d idle workers, lease %v, for %v: %.3f of a core, %.1f kB a worker, load %s\n", its.workers,
		its.lease, took.Round(time.Second), figures.Cores, figures.BytesEach/1e3, figures.Load)
	expired, err := l.countInLogs(logLost)
	if err != nil {
		return figures, err
	}
	ended, err := l.countInLogs(logEnded)
	if err != nil {
		return figures, err
	}
	fmt.Fprintf(l.out, "leases expired: %d, sessions ended: %d\n", expired, ended)
	if err := l.checkLogs(logLost); err != nil {
		return figures, err
	}
	return figures, l.awaitWorkers(ctx, its.workers)
}

// What a coordinator logs when a lease expires, and what a simulated worker writes when its session ends.
const (
	logLost  = "worker lost"
	logEnded = "session: "
)

// countInLogs counts the lines with a text in what the processes have written.
func (l *lab) countInLogs(text string) (count int, err error) {
	for _, p := range l.processes {
		content, err := os.ReadFile(filepath.Join(l.dir, p.name+".log"))
		if err != nil {
			return 0, err
		}
		count += strings.Count(string(content), text)
	}
	return count, nil
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
