package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"trellis/trainer/adam"
	"trellis/trainer/dataset"
	"trellis/trainer/kernel"
	"trellis/trainer/network"
)

const (
	latentDim = 16
	batchSize = 256
)

//go:embed pytorch.py
var pytorchScript string

// errNoPackage means that no interpreter here has a package.
var errNoPackage = errors.New("no python3 here has the package (PYTHON=... names another interpreter)")

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 3, "how often each is measured, in turn")
	seconds := flag.Duration("time", 3*time.Second, "how long each measurement takes")
	batches := flag.String("batches", "64,128,256,512", "PyTorch's batch sizes, of which the best counts")
	threads := flag.String("threads", "1,2", "PyTorch's thread counts, of which the best counts")
	tsne := flag.Bool("tsne", false, "compare t-SNE, with scikit-learn's")
	epochs := flag.Int("epochs", 10, "how long the autoencoder is trained whose codes t-SNE embeds")
	codes := flag.String("codes", "", "file of codes to embed, 10,000 rows of float64, instead of that autoencoder's")
	embed := flag.Int("embed", 0, "embed the codes in so many dimensions, and compare nothing")
	embedding := flag.String("embedding", "", "file to write the embedding to")
	flag.Parse()
	ctx := context.Background()
	var err error
	switch {
	case *embed > 0:
		err = embedOurselves(ctx, *embed, *codes, *embedding)
	case *tsne:
		err = compareTSNE(ctx, *rounds, *epochs, *codes)
	default:
		err = compare(ctx, *rounds, *seconds, *batches, *threads)
	}
	if err != nil {
		log.Fatal("peers: ", err)
	}
}

// peer is one of those compared.
type peer struct {
	name string
	// measure returns images per second and the setting that reached them.
	measure func(context.Context) (float64, string, error)
	// rates are the rounds' results, the setting that of the last.
	rates   []float64
	setting string
}

// compare measures all peers in turn and prints the table.
func compare(ctx context.Context, rounds int, duration time.Duration, batches, threads string) error {
	folder, err := os.MkdirTemp("", "trellis-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	pixels, err := trainingImages(ctx)
	if err != nil {
		return err
	}
	peers := ourselves(pixels, duration)
	ours := len(peers)
	if python, err := findPython(ctx, "torch"); err != nil {
		fmt.Printf("PyTorch: skipped: %v\n", err)
	} else {
		p := pytorch{
			python: python, images: filepath.Join(folder, "images"),
			seconds: duration.Seconds(), batches: batches, threads: threads,
		}
		if err := os.WriteFile(p.images, pixels, 0o600); err != nil {
			return err
		}
		peers = append(peers, &peer{name: "PyTorch", measure: p.measure})
	}
	stock, err := stockGorgonia(ctx, folder, duration)
	if err != nil {
		fmt.Printf("stock Gorgonia: skipped: %v\n", err)
	} else {
		peers = append(peers, stock)
	}
	for range rounds {
		for _, p := range peers {
			rate, setting, err := p.measure(ctx)
			if err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
			p.rates, p.setting = append(p.rates, rate), setting
		}
	}
	printTable(peers, ours)
	return nil
}

// printTable prints each peer's median rate, and for each of ours the median of its rounds' ratios to each of the
// others.
func printTable(peers []*peer, ours int) {
	fmt.Printf("training step of the convolutional autoencoder, latent %d, %d core(s), medians of %d rounds\n\n",
		latentDim, runtime.NumCPU(), len(peers[0].rates))
	fmt.Printf("%-28s %12s", "", "images/s")
	for _, other := range peers[ours:] {
		fmt.Printf("  %16s", "x "+other.name)
	}
	fmt.Println()
	for i, p := range peers {
		fmt.Printf("%-28s %12.0f", p.name, median(p.rates))
		for _, other := range peers[ours:] {
			if i < ours {
				fmt.Printf("  %16.2f", median(ratios(p.rates, other.rates)))
			}
		}
		if p.setting != "" {
			fmt.Printf("  (%s)", p.setting)
		}
		fmt.Println()
	}
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

// trainingImages returns MNIST's training images, one byte a pixel.
func trainingImages(ctx context.Context) ([]byte, error) {
	set, err := (&dataset.Library{}).Find(ctx, "mnist")
	if err != nil {
		return nil, err
	}
	data, err := set.Load()
	if err != nil {
		return nil, err
	}
	return data.Train.Pixels, nil
}

// ourselves are the forms of our kernels that this processor can run, the fastest first.
func ourselves(pixels []byte, duration time.Duration) []*peer {
	var peers []*peer
	for _, path := range kernel.Paths() {
		peers = append(peers,
			&peer{name: "Trellis, " + path, measure: func(ctx context.Context) (float64, string, error) {
				if err := kernel.SetPath(path); err != nil {
					return 0, "", err
				}
				return ownRate(ctx, pixels, duration)
			}})
	}
	return peers
}

// ownRate times training steps as a run does them, shuffled batches forward and backward, and Adam. The setting says
// which share of the core's peak that is, if the path in use has one.
func ownRate(ctx context.Context, pixels []byte, duration time.Duration) (rate float64, setting string, err error) {
	n, err := network.NewConvAutoencoder(latentDim)
	if err != nil {
		return 0, "", err
	}
	n.Initialize(1)
	solver := adam.New(len(n.Weights), 1e-3, 1e-5)
	images := len(pixels) / (network.Side * network.Side)
	batch := make([]uint32, batchSize)
	done := 0
	peak := kernel.Peak()
	start := time.Now()
	for time.Since(start) < duration {
		for i := range batch {
			// A stride that shares no factor with the number of images visits all of them, far apart.
			batch[i] = uint32((done + i) * 7919 % images)
		}
		if _, err := n.Train(ctx, network.Examples{Pixels: pixels}, batch); err != nil {
			return 0, "", err
		}
		if err := n.Step(solver); err != nil {
			return 0, "", err
		}
		done += batchSize
	}
	rate = float64(done) / time.Since(start).Seconds()
	setting = fmt.Sprintf("batch %d", batchSize)
	if peak = max(peak, kernel.Peak()); peak > 0 {
		flops, _ := n.FLOPs()
		setting += fmt.Sprintf(", %.0f%% of the peak of %.0f GFLOP/s", 100*rate*float64(flops)/peak, peak/1e9)
	}
	return rate, setting, nil
}

// pytorch runs pytorch.py.
type pytorch struct {
	python, images   string
	seconds          float64
	batches, threads string
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

// measure returns the rate of PyTorch's best setting.
func (p pytorch) measure(ctx context.Context) (float64, string, error) {
	seconds := strconv.FormatFloat(p.seconds, 'f', -1, 64)
	command := exec.CommandContext(ctx, p.python, "-", p.images, seconds, p.batches, p.threads)
	command.Stdin = strings.NewReader(pytorchScript)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return 0, "", err
	}
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Scan()
	version := lines.Text()
	best, setting := 0.0, ""
	for lines.Scan() {
		var threads, batch int
		var rate float64
		if _, err := fmt.Sscan(lines.Text(), &threads, &batch, &rate); err != nil {
			return 0, "", fmt.Errorf("read %q: %w", lines.Text(), err)
		}
		if rate > best {
			best, setting = rate, fmt.Sprintf("version %s, batch %d, %d threads", version, batch, threads)
		}
	}
	return best, setting, nil
}

var benchmarkRate = regexp.MustCompile(`([0-9.e+]+) images/s`)

// stockGorgonia compiles package network's benchmark of Gorgonia's own operations, machine and solver.
func stockGorgonia(ctx context.Context, folder string, duration time.Duration) (*peer, error) {
	binary := filepath.Join(folder, "network.test")
	compile := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "trellis/trainer/network")
	compile.Stderr = os.Stderr
	if err := compile.Run(); err != nil {
		return nil, fmt.Errorf("compile its benchmark: %w", err)
	}
	measure := func(ctx context.Context) (float64, string, error) {
		output, err := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench=^BenchmarkStockGorgonia$",
			"-test.benchtime="+duration.String()).CombinedOutput()
		if err != nil {
			return 0, "", fmt.Errorf("%w:\n%s", err, output)
		}
		match := benchmarkRate.FindSubmatch(output)
		if match == nil {
			return 0, "", fmt.Errorf("no rate in its output:\n%s", output)
		}
		rate, err := strconv.ParseFloat(string(match[1]), 64)
		return rate, fmt.Sprintf("batch %d", batchSize), err
	}
	return &peer{name: "stock Gorgonia", measure: measure}, nil
}
