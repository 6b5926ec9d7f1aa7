package main

import (
	"context"
	"embed"
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
	{"Optuna, in memory, one process", "optuna", "optuna_trials.py", []string{"memory"}},
	{"Optuna, journal, two processes", "optuna", "optuna_trials.py", []string{"journal"}},
	{"Optuna, SQLite, two processes", "optuna", "optuna_trials.py", []string{"sqlite"}},
	{"Ray Tune, actors reused", "ray", "ray_trials.py", nil},
}

// peers prints how many trials a second other tools do, where they are installed.
func peers(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	python := flags.String("python", "python3", "`path` of Python")
	sizes := flags.String("trials", "100,1000", "`numbers` of trials, multiples of 10")
	patience := flags.Duration("patience", 5*time.Minute, "end a search after this `time`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, its := range peersMeasured {
		if exec.CommandContext(ctx, *python, "-c", "import "+its.module).Run() != nil {
			fmt.Fprintf(l.out, "%s: skipped, %s has no module %s\n", its.name, *python, its.module)
			continue
		}
		for _, size := range strings.Split(*sizes, ",") {
			trials, err := strconv.Atoi(size)
			if err != nil || trials <= 0 || trials%10 != 0 {
				return fmt.Errorf("-trials: %q must be a multiple of 10", size)
			}
			if err := its.measure(ctx, l, *python, size, *patience); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p peer) measure(ctx context.Context, l *lab, python, trials string, patience time.Duration) error {
	source, err := scripts.ReadFile("peers/" + p.script)
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, p.script)
	if err := os.WriteFile(path, source, 0o600); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := exec.CommandContext(limited, python, append(append([]string{path}, p.args...), trials)...)
	command.WaitDelay = time.Second
	out, err := command.Output()
	if limited.Err() != nil && ctx.Err() == nil {
		fmt.Fprintf(l.out, "%s, %s trials: not done after %v\n", p.name, trials, patience)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s, %s trials: %w", p.name, trials, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var kind string
	var finished, distinct int
	var seconds float64
	if _, err := fmt.Sscan(lines[len(lines)-1], &kind, &finished, &distinct, &seconds); err != nil {
		return fmt.Errorf("%s: what it printed: %w", p.name, err)
	}
	fmt.Fprintf(l.out, "%s: %d trials, %d distinct, in %.1f s: %.1f trials/s, load %s\n", p.name, finished, distinct, seconds,
		float64(finished)/max(seconds, 0.1), load())
	return nil
}
