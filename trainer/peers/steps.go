package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trellis/trainer"
	"trellis/trainer/dataset"
	"trellis/trainer/kernel"
)

//go:embed pytorch.py
var pytorchScript string

//go:embed jax_steps.py
var jaxScript string

// errMeasured ends a run of ours.
var errMeasured = errors.New("measured")

// compared is a network whose training steps are compared.
type compared struct {
	name, model string
	// images are how many an epoch of ours trains on.
	images int
	// scripts are what the other tools' scripts call it, and in which ways they train it.
	scripts []script
}

type script struct{ network, words string }

var networks = []compared{
	{"autoencoder", trainer.ConvAutoencoder, 16384, []script{{"autoencoder", ""}}},
	{"variational", trainer.VariationalAutoencoder, 1024, []script{{"variational", ""}}},
	{"classifier", trainer.Classifier, 16384, []script{
		{"classifier", ", encoding each batch"}, {"classifier-on-codes", ", on codes kept"},
	}},
}

// peer is one of those compared.
type peer struct {
	name string
	// measure returns images per second of processor time and the setting that reached them.
	measure func(context.Context) (float64, string, error)
	// rates are the rounds' results, the setting that of the last.
	rates   []float64
	setting string
}

// settings say what is compared, and how.
type settings struct {
	// only is the name of the only network; all if it is empty.
	only   string
	rounds int
	// duration is how long each of a peer's settings is measured, in processor time.
	duration time.Duration
	// batches are the other tools' batch sizes, and compile says to try torch.compile.
	batches string
	compile bool
}

// compare measures all peers in turn, network by network, and prints a table for each.
func compare(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp("", "trellis-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	set, err := (&dataset.Library{}).Find(ctx, dataset.MNIST)
	if err != nil {
		return err
	}
	data, err := set.Load()
	if err != nil {
		return err
	}
	files := [2]string{filepath.Join(folder, "images"), filepath.Join(folder, "labels")}
	if err := errors.Join(os.WriteFile(files[0], data.Train.Pixels, 0o600),
		os.WriteFile(files[1], data.Train.Labels, 0o600)); err != nil {
		return err
	}
	for _, n := range networks {
		if s.only != "" && s.only != n.name {
			continue
		}
		peers, err := ourselves(ctx, n, data, s.duration)
		if err != nil {
			return err
		}
		ours := len(peers)
		peers = append(peers, others(ctx, n, files, s)...)
		if n.model == trainer.ConvAutoencoder {
			if stock, err := stockGorgonia(ctx, folder, s.duration); err != nil {
				fmt.Printf("stock Gorgonia: skipped: %v\n", err)
			} else {
				peers = append(peers, stock)
			}
		}
		for range s.rounds {
			for _, p := range peers {
				rate, setting, err := p.measure(ctx)
				if err != nil {
					return fmt.Errorf("measure %s: %w", p.name, err)
				}
				p.rates, p.setting = append(p.rates, rate), setting
			}
		}
		printTable(n.name, peers, ours)
	}
	return nil
}

// printTable prints each peer's median rate, and for each of ours the median of its rounds' ratios to each of the
// others.
func printTable(network string, peers []*peer, ours int) {
	fmt.Printf("training step of the %s, latent %d, on one core of %s, medians of %d rounds\n\n", network, latentDim,
		processor(), len(peers[0].rates))
	fmt.Printf("%-36s %12s", "", "images/s")
	for _, p := range peers[:ours] {
		fmt.Printf("  %20s", p.name+" x")
	}
	fmt.Println()
	for i, p := range peers {
		fmt.Printf("%-36s %12.0f", p.name, median(p.rates))
		for _, mine := range peers[:ours] {
			if i >= ours {
				fmt.Printf("  %20.2f", median(ratios(mine.rates, p.rates)))
			}
		}
		if p.setting != "" {
			fmt.Printf("  (%s)", p.setting)
		}
		fmt.Println()
	}
	fmt.Println()
}

// processor is its name, if the system tells.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	match := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(info)
	if match == nil {
		return "this processor"
	}
	return string(match[1])
}

func ratios(a, b []float64) []float64 {
	quotients := make([]float64, len(a))
	for i := range a {
		quotients[i] = a[i] / b[i]
	}
	return quotients
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ourselves are the vector forms of our kernels that this processor can run, the fastest first.
func ourselves(ctx context.Context, n compared, data *dataset.Data, duration time.Duration) ([]*peer, error) {
	split, err := data.Split(n.images, 16)
	if err != nil {
		return nil, err
	}
	split.Test = split.Validation // Neither counts.
	config := trainer.Config{
		Model: n.model, LatentDim: latentDim, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: batchSize, Seed: 1,
		MaxEpochs: 1, Data: split,
	}
	if n.model == trainer.Classifier {
		encoder := config
		encoder.Model = trainer.ConvAutoencoder
		encoder.Checkpoint = func(c *trainer.Checkpoint) error { config.Pretrained = c.Clone(); return nil }
		if _, err := trainer.Train(ctx, encoder, func(trainer.Report) error { return nil }); err != nil {
			return nil, err
		}
	}
	var peers []*peer
	paths := kernel.Paths()
	for _, path := range paths[:len(paths)-1] {
		peers = append(peers, &peer{
			name: "Trellis, " + path, measure: func(ctx context.Context) (float64, string, error) {
				if err := kernel.SetPath(path); err != nil {
					return 0, "", err
				}
				rate, err := ownRate(ctx, config, duration)
				return rate, fmt.Sprintf("batch %d", batchSize), err
			},
		})
	}
	if len(peers) == 0 {
		return nil, errors.New("this processor has no vector kernels")
	}
	return peers, nil
}

// ownRate times epochs of a run but for the first, which warms caches and encodes images for all epochs if the encoder
// is frozen.
func ownRate(ctx context.Context, config trainer.Config, duration time.Duration) (rate float64, err error) {
	config.MaxEpochs = 1 << 20
	var start time.Duration
	_, err = trainer.Train(ctx, config, func(report trainer.Report) error {
		if report.Epoch == 1 {
			start = processorTime()
			return nil
		}
		elapsed := processorTime() - start
		rate = float64((report.Epoch-1)*config.Data.Train.Len()) / elapsed.Seconds()
		if elapsed < duration {
			return nil
		}
		return errMeasured
	})
	if errors.Is(err, errMeasured) {
		err = nil
	}
	return rate, err
}

// processorTime is what this process has taken of all cores. Unlike the time on the clock, it hardly depends on what
// else the machine does.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// others are the tools that are there, each with the ways in which it trains the network.
func others(ctx context.Context, n compared, files [2]string, s settings) (peers []*peer) {
	for _, tool := range []struct{ name, module, source string }{
		{"PyTorch", "torch", pytorchScript}, {"JAX", "optax", jaxScript},
	} {
		python, err := findPython(ctx, tool.module)
		if err != nil {
			fmt.Printf("%s: skipped: %v\n", tool.name, err)
			continue
		}
		for _, script := range n.scripts {
			command := []string{
				python, "-c", tool.source, script.network, files[0], files[1],
				strconv.FormatFloat(s.duration.Seconds(), 'f', -1, 64), s.batches, strconv.FormatBool(s.compile),
			}
			peers = append(peers, &peer{
				name:    tool.name + script.words,
				measure: func(ctx context.Context) (float64, string, error) { return bestSetting(ctx, command) },
			})
		}
	}
	return peers
}

// bestSetting runs a script, and returns the rate of the best of its settings.
func bestSetting(ctx context.Context, command []string) (best float64, setting string, err error) {
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Stderr = os.Stderr
	output, err := run.Output()
	if err != nil {
		return 0, "", err
	}
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Scan()
	version := lines.Text()
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			return 0, "", fmt.Errorf("read %q: want a rate and a setting", lines.Text())
		}
		rate, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, "", fmt.Errorf("read %q: %w", lines.Text(), err)
		}
		if rate > best {
			best = rate
			setting = fmt.Sprintf("version %s, batch %s", version, strings.Join(fields[1:], ", "))
		}
	}
	if best == 0 {
		return 0, "", errors.New("it has measured nothing")
	}
	return best, setting, lines.Err()
}

// findPython returns an interpreter that has a package, or an error that wraps errNoPackage.
func findPython(ctx context.Context, name string) (string, error) {
	for _, python := range []string{os.Getenv("PYTHON"), "python3", "/usr/bin/python3"} {
		if python != "" && exec.CommandContext(ctx, python, "-c", "import "+name).Run() == nil {
			return python, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, errNoPackage)
}
