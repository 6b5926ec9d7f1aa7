package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// scripts search the same grid as throughput with other tools: see each one's first lines.
//
//go:embed peers/*.py
var scripts embed.FS

// peer is another tool, as it is measured.
type peer struct {
	name, module, script string
	// args come before the number of trials.
	args []string
}

// peersMeasured are those that people use for this, in their fastest settings and, of Optuna, in its durable ones.
var peersMeasured = []peer{
	{"Optuna, grid, in memory", "optuna", "optuna_trials.py", []string{"memory", "grid"}},
	{"Optuna, grid, journal", "optuna", "optuna_trials.py", []string{"journal", "grid"}},
	{"Optuna, grid, SQLite", "optuna", "optuna_trials.py", []string{"sqlite", "grid"}},
	{"Optuna, random, in memory", "optuna", "optuna_trials.py", []string{"memory", "random"}},
	{"Optuna, random, journal", "optuna", "optuna_trials.py", []string{"journal", "random"}},
	{"Optuna, random, SQLite", "optuna", "optuna_trials.py", []string{"sqlite", "random"}},
	{"Ray Tune, grid", "ray", "ray_trials.py", nil},
}

// peers measures what other tools do, where they are installed, and keeps the figures in a file. A tool that was
// stopped is not tried with more trials.
func peers(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	into := flags.String("into", "", "`path` of the file to add the figures to")
	python := flags.String("python", "python3", "`path` of Python")
	sizes := flags.String("trials", "100,1000,10000", "`numbers` of trials, ascending multiples of 10")
	limit := flags.Duration("patience", time.Minute, "stop a search after this `time`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	trials, err := numbers("-trials", *sizes)
	if err != nil {
		return err
	}
	for _, n := range trials {
		if n%10 != 0 {
			return fmt.Errorf("-trials: %d must be a multiple of 10", n)
		}
	}
	for _, its := range peersMeasured {
		version, err := exec.CommandContext(ctx, *python, "-c",
			fmt.Sprintf("import %[1]s; print(%[1]s.__version__)", its.module)).Output()
		if err != nil {
			fmt.Fprintf(l.out, "%s: skipped, %s has no module %s\n", its.name, *python, its.module)
			continue
		}
		for _, n := range trials {
			var one peerFigures
			err := l.apart(func(l *lab) (err error) {
				one, err = its.measure(ctx, l, *python, n, *limit)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s, %d trials: %w", its.name, n, err)
			}
			one.Version = strings.TrimSpace(string(version))
			if err := addFigures(*into, func(all *figures) {
				all.Peers = replace(all.Peers, one, func(a, b peerFigures) int {
					return cmp.Or(cmp.Compare(a.Tool, b.Tool), cmp.Compare(a.Trials, b.Trials))
				})
			}); err != nil {
				return err
			}
			if one.StoppedAfter > 0 {
				break
			}
		}
	}
	return nil
}

// measure searches with a tool. It does not finish all trials within a limit, it stops by itself.
func (p peer) measure(
	ctx context.Context, l *lab, python string, trials int, limit time.Duration,
) (figures peerFigures, err error) {
	source, err := scripts.ReadFile("peers/" + p.script)
	if err != nil {
		return figures, err
	}
	path := filepath.Join(l.dir, p.script)
	if err := os.WriteFile(path, source, 0o600); err != nil {
		return figures, err
	}
	figures = peerFigures{taken: takenNow(), Tool: p.name, Trials: trials}
	// It may take as long again to begin and to end.
	limited, cancel := context.WithTimeoutCause(ctx, 2*limit+time.Minute, errors.New("it does not stop"))
	defer cancel()
	command := exec.CommandContext(limited, python, append(append([]string{path}, p.args...), strconv.Itoa(trials),
		strconv.FormatFloat(limit.Seconds(), 'f', -1, 64))...)
	command.Dir = l.dir // Its data are on the disk that is measured, as ours.
	command.WaitDelay = time.Second
	out, err := command.Output()
	if err != nil {
		if limited.Err() != nil {
			err = context.Cause(limited)
		}
		return figures, err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &figures); err != nil {
		return figures, fmt.Errorf("what it printed: %w", err)
	}
	stopped := ""
	if figures.Finished < trials {
		figures.StoppedAfter = limit.Seconds()
		stopped = fmt.Sprintf(", stopped after %v", limit)
	}
	fmt.Fprintf(l.out, "%s: %d of %d trials, %d distinct, in %.1f s: %.1f trials/s, load %s%s\n", p.name,
		figures.Finished, trials, figures.Distinct, figures.Seconds, figures.rate(), figures.Load, stopped)
	return figures, nil
}
