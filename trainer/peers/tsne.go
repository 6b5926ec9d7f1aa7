package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"trellis/trainer"
	"trellis/trainer/dataset"
	"trellis/trainer/latent"
)

//go:embed scikit.py
var scikitScript string

//go:embed opentsne.py
var openTSNEScript string

// embedder is an implementation of t-SNE that is compared: a process that reads codes and writes an embedding.
type embedder struct {
	name       string
	dimensions int
	// command takes the files of codes and of the embedding.
	command func(codes, embedding string) *exec.Cmd
}

// embedding is what an embedder's process has told and written, and what it has taken.
type embedding struct {
	version string
	// seconds are of the embedding alone, wall time; cpu is the whole process's time on all cores.
	seconds    float64
	cpu        time.Duration
	divergence float64
	// peak is that of the process's memory in KiB, 0 where the system does not tell.
	peak   int
	points latent.Points
}

// compareTSNE embeds the codes of MNIST's test images, or of its others if that many points are asked for, by our t-SNE
// and those of others in turn, on all cores that the process may use, and prints time, memory and the embeddings'
// quality. codes is a file of them; without one, an autoencoder is trained first.
func compareTSNE(ctx context.Context, rounds, epochs, points int, codes string) error {
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
	images := data.Test
	if points == data.Train.Len() {
		images = data.Train
	}
	if points != images.Len() {
		return fmt.Errorf("-points is %d: must be %d or %d", points, data.Test.Len(), data.Train.Len())
	}
	if codes == "" {
		codes = filepath.Join(folder, "codes")
		if err := writeCodes(ctx, data, images, epochs, codes); err != nil {
			return fmt.Errorf("encode MNIST's images: %w", err)
		}
	}
	original, err := readPoints(codes, points)
	if err != nil {
		return err
	}
	peers, err := embedders(ctx, points)
	if err != nil {
		return err
	}
	fmt.Printf("t-SNE of %d codes of %d dimensions, perplexity 30\n\n", points, original.Dim)
	fmt.Printf("%-22s %2s %8s %8s %8s %10s %8s %8s %8s  %s\n", "", "to", "wall s", "CPU s", "MiB", "divergence",
		"trust 5",
		"trust 12", "5-NN", "version")
	for range rounds {
		for _, p := range peers {
			e, err := p.embed(ctx, points, codes, filepath.Join(folder, "embedding"))
			if err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
			if err := e.print(ctx, p, original, images.Labels); err != nil {
				return err
			}
		}
	}
	return nil
}

// embedders are ourselves, in two dimensions and, for few points, three, and those of others that a Python here has.
func embedders(ctx context.Context, points int) ([]embedder, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ours := func(dimensions int) embedder {
		return embedder{"Trellis", dimensions, func(codes, embedding string) *exec.Cmd {
			return exec.CommandContext(ctx, self, "-embed", strconv.Itoa(dimensions), "-points", strconv.Itoa(points),
				"-codes", codes, "-embedding", embedding)
		}}
	}
	all := []embedder{ours(2)}
	const few = 10_000 // scikit-learn's Barnes-Hut takes a quarter of an hour for 60,000.
	for _, other := range []struct {
		name, module, script string
		most                 int
	}{{"openTSNE", "openTSNE", openTSNEScript, math.MaxInt}, {"scikit-learn", "sklearn", scikitScript, few}} {
		if points > other.most {
			continue
		}
		python, err := findPython(ctx, other.module)
		if err != nil {
			fmt.Printf("%s: skipped: %v\n", other.name, err)
			continue
		}
		all = append(all, embedder{other.name, 2, func(codes, embedding string) *exec.Cmd {
			command := exec.CommandContext(ctx, python, "-", codes, strconv.Itoa(points), embedding)
			command.Stdin = strings.NewReader(other.script)
			return command
		}})
	}
	if points <= few {
		all = append(all, ours(3))
	}
	return all, nil
}

func (p *embedder) embed(ctx context.Context, points int, codes, file string) (*embedding, error) {
	command := p.command(codes, file)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, err
	}
	e := &embedding{cpu: command.ProcessState.UserTime() + command.ProcessState.SystemTime()}
	if _, err := fmt.Fscan(bytes.NewReader(output), &e.version, &e.seconds, &e.divergence, &e.peak); err != nil {
		return nil, fmt.Errorf("read %q: %w", output, err)
	}
	e.points, err = readPoints(file, points)
	return e, err
}

// print judges an embedding, whoever it is of, by package latent's measures.
func (e *embedding) print(ctx context.Context, of embedder, original latent.Points, labels []byte) error {
	var trust [2]float64
	for i, neighbours := range []int{5, 12} {
		var err error
		if trust[i], err = latent.Trustworthiness(ctx, original, e.points, neighbours); err != nil {
			return err
		}
	}
	accuracy, err := latent.NearestNeighbourAccuracy(ctx, e.points, labels, 5)
	if err != nil {
		return err
	}
	fmt.Printf("%-22s %2d %8.1f %8.1f %8d %10.4f %8.4f %8.4f %8.4f  %s\n", of.name, of.dimensions, e.seconds,
		e.cpu.Seconds(),
		e.peak>>10, e.divergence, trust[0], trust[1], accuracy, e.version)
	return nil
}

// embedOurselves is the process that is measured: it tells of itself what scikit.py does.
func embedOurselves(ctx context.Context, dimensions, n int, codes, file string) error {
	points, err := readPoints(codes, n)
	if err != nil {
		return err
	}
	start := time.Now()
	e, divergence, err := latent.TSNE{Dimensions: dimensions, Perplexity: 30, Iterations: 1000}.Embed(ctx, points)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	if err := writePoints(file, e); err != nil {
		return err
	}
	fmt.Println("-", seconds, divergence, peakMemory())
	return nil
}

// peakMemory returns the process's, in KiB. Linux alone tells it; rusage's would have the parent's in it.
func peakMemory() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var peak int
			if _, err := fmt.Sscan(value, &peak); err == nil {
				return peak
			}
		}
	}
	return 0
}

// writeCodes trains the best configuration of the paper's grid for some epochs, and writes what it makes of images.
func writeCodes(ctx context.Context, data *dataset.Data, of dataset.Images, epochs int, file string) error {
	split, err := data.Split(data.Train.Len()-6000, 6000)
	if err != nil {
		return err
	}
	var last *trainer.Checkpoint
	config := trainer.Config{
		Model: trainer.ConvAutoencoder, LatentDim: 32, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: 256, Seed: 1,
		MaxEpochs: epochs, Data: split,
		Checkpoint: func(c *trainer.Checkpoint) error {
			if c.Epoch() == epochs {
				last = c.Clone()
			}
			return nil
		},
	}
	result, err := trainer.Train(ctx, config, func(trainer.Report) error { return nil })
	if err != nil {
		return err
	}
	fmt.Printf("codes: latent 32, trained for %d epochs to a validation loss of %.6f\n", result.Epochs,
		result.BestValue)
	encoder, err := trainer.NewInference(config, last)
	if err != nil {
		return err
	}
	points := latent.Points{Dim: config.LatentDim}
	const pass = 1000 // Images at once, to bound memory.
	for pixels := range slices.Chunk(of.Pixels, pass*data.Height*data.Width) {
		images := make([]float32, len(pixels))
		for i, pixel := range pixels {
			images[i] = float32(pixel) / 255
		}
		codes, err := encoder.Encode(ctx, images)
		if err != nil {
			return err
		}
		for _, code := range codes {
			points.Values = append(points.Values, float64(code))
		}
	}
	return writePoints(file, points)
}

func writePoints(file string, points latent.Points) error {
	var content []byte
	for _, v := range points.Values {
		content = binary.LittleEndian.AppendUint64(content, math.Float64bits(v))
	}
	return os.WriteFile(file, content, 0o600)
}

func readPoints(file string, n int) (latent.Points, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return latent.Points{}, err
	}
	if len(content) == 0 || len(content)%(8*n) != 0 {
		return latent.Points{}, fmt.Errorf("%s has %d bytes, want rows of float64 for %d points", file, len(content), n)
	}
	points := latent.Points{Values: make([]float64, len(content)/8), Dim: len(content) / (8 * n)}
	for i := range points.Values {
		points.Values[i] = math.Float64frombits(binary.LittleEndian.Uint64(content[8*i:]))
	}
	return points, nil
}
