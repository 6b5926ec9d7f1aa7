package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	if becameWorkers() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// measurements are what can be measured, and what can be made of it, by name. Each reads its own flags.
var measurements = map[string]func(ctx context.Context, lab *lab, args []string) error{
	"throughput": throughput,
	"idle":       idle,
	"latency":    latency,
	"curves":     curves,
	"queries":    queries,
	"watchers":   watchers,
	"peers":      peers,
	"figure":     picture,
	"table":      table,
}

// run measures what the arguments name.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	binary := flags.String("trellis", "./trellis", "`path` of the binary to measure")
	dir := flags.String("dir", "", "`folder` for the data directory, on the disk to measure; default: a temporary one")
	profile := flags.Duration("profile", 0, "profile processes for this `time`, into the folder")
	if err := flags.Parse(args); err != nil {
		return err
	}
	measure := measurements[flags.Arg(0)]
	if measure == nil {
		return fmt.Errorf("unknown measurement %q: must be one of %s", flags.Arg(0),
			strings.Join(slices.Sorted(maps.Keys(measurements)), ", "))
	}
	lab, err := newLab(*binary, *dir, *profile, out)
	if err != nil {
		return err
	}
	return errors.Join(measure(ctx, lab, flags.Args()[1:]), lab.close())
}
