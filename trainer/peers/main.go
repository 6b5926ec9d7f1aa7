package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const (
	latentDim = 16
	batchSize = 256
)

// errNoPackage means that no interpreter here has a package.
var errNoPackage = errors.New("no python3 here has the package (PYTHON=... names another interpreter)")

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 2, "how often each is measured, in turn")
	seconds := flag.Duration("time", 2*time.Second, "how long each setting is measured, in processor time")
	batches := flag.String("batches", "64,128,256,512,1024", "batch sizes of PyTorch and JAX, of which the best counts")
	compile := flag.Bool("compile", true, "try torch.compile too, which takes most of the time")
	only := flag.String("network", "", "compare this network's steps alone: autoencoder, variational or classifier")
	tsne := flag.Bool("tsne", false, "compare t-SNE, with scikit-learn's and openTSNE's")
	points := flag.Int("points", 10_000,
		"how many of MNIST's images t-SNE embeds: 10000, those of the test, or 60000, the others")
	epochs := flag.Int("epochs", 10, "how long the autoencoder is trained whose codes t-SNE embeds")
	codes := flag.String("codes", "", "file of codes to embed, rows of float64, instead of that autoencoder's")
	embed := flag.Int("embed", 0, "embed the codes in so many dimensions, and compare nothing")
	embedding := flag.String("embedding", "", "file to write the embedding to")
	flag.Parse()
	ctx := context.Background()
	var err error
	switch {
	case *embed > 0:
		err = embedOurselves(ctx, *embed, *points, *codes, *embedding)
	case *tsne:
		err = compareTSNE(ctx, *rounds, *epochs, *points, *codes)
	default:
		err = compare(ctx, settings{*only, *rounds, *seconds, *batches, *compile})
	}
	if err != nil {
		log.Fatal("peers: ", err)
	}
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
		return rate, fmt.Sprintf("batch %d, by the clock", batchSize), err
	}
	return &peer{name: "stock Gorgonia", measure: measure}, nil
}
