package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// curves measures studies of several sizes and crowds of idle workers, each with a coordinator of its own and an empty
// data directory, and keeps the figures in a file.
func curves(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("curves", flag.ContinueOnError)
	into := flags.String("into", "", "`path` of the file to add the figures to")
	sizes := flags.String("trials", "1000,10000,100000,1000000", "`numbers` of trials")
	epochs := flags.Int("epochs", 10, "`number` of epochs of each")
	crowds := flags.String("idle", "100,1000,10000", "`numbers` of idle workers")
	ask := flags.Bool("ask", true, "train each study once more, and ask about it while it is trained")
	watch := flags.Duration("for", 30*time.Second, "`time` to watch idle workers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	trials, err := numbers("-trials", *sizes)
	if err != nil {
		return err
	}
	workers, err := numbers("-idle", *crowds)
	if err != nil {
		return err
	}
	for _, n := range trials {
		var one sizeFigures
		err := l.apart(func(l *lab) (err error) {
			if one, _, err = l.train(ctx, training{trials: n, epochs: *epochs, workers: 2, slots: 256}); err != nil {
				return err
			}
			took, err := l.restart(ctx, studyName)
			one.RestartSeconds = took.Seconds()
			fmt.Fprintf(l.out, "served again after %v\n", took.Round(time.Millisecond))
			return err
		})
		if err == nil && *ask {
			err = l.apart(func(l *lab) error {
				asked, _, err := l.train(ctx, training{trials: n, epochs: *epochs, workers: 2, slots: 256, ask: true})
				one.Queries = asked.Queries
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("%d trials: %w", n, err)
		}
		if err := addFigures(*into, func(all *figures) {
			all.Sizes = replace(all.Sizes, one, func(a, b sizeFigures) int { return cmp.Compare(a.Trials, b.Trials) })
		}); err != nil {
			return err
		}
	}
	for _, n := range workers {
		var one idleFigures
		err := l.apart(func(l *lab) (err error) {
			one, err = l.watchIdle(ctx, waiting{
				workers: n, each: 5000, sessions: 1, watch: *watch, lease: 15 * time.Second,
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("%d idle workers: %w", n, err)
		}
		if err := addFigures(*into, func(all *figures) {
			all.Idle = replace(all.Idle, one, func(a, b idleFigures) int { return cmp.Compare(a.Workers, b.Workers) })
		}); err != nil {
			return err
		}
	}
	return nil
}

// apart measures with processes and data of its own, and removes both.
func (l *lab) apart(measure func(*lab) error) error {
	one, err := l.within()
	if err != nil {
		return err
	}
	return errors.Join(measure(one), one.close())
}

// numbers reads a list of numbers, which may be empty. What is the flag that gave it.
func numbers(what, list string) (all []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%s: %q must be a number above 0", what, text)
		}
		all = append(all, n)
	}
	return all, nil
}
