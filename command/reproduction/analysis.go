package reproduction

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"trellis/results/figure"
	"trellis/results/grid"
	"trellis/results/paper"
	"trellis/trainer"
	"trellis/trainer/latent"
)

// What the pictures show, as in the paper.
const (
	examples      = 3  // Of reconstruction, generation and denoising.
	sampledImages = 32 // Of the variational autoencoder.
)

// seed keys the codes that are drawn at random, and the start of t-SNE.
const seed = 1

// neighbours are those that a point is judged by.
const neighbours = 5

// MaxClasses is how many classes an analysis tells apart: figure 5 and the tables have one digit for each. Networks
// have ten if there are fewer.
const MaxClasses = 10

const classes = MaxClasses

// Findings are the numbers that the analysis gives, beside those of the studies. What is not found yet is nil.
type Findings struct {
	// Frozen and FineTuned are the classifiers' answers on the test images.
	Frozen, FineTuned *Reading
	// Sampled is how the classifier reads images that the variational autoencoder has drawn, and Generated how it reads
	// those of the plain one.
	Sampled, Generated *Sampling
	// Plain and Variational are the latent spaces.
	Plain, Variational *Space
	// Pictures are the figures by their numbers in the paper.
	Pictures map[uint32]paper.Picture
}

// Reading is what a classifier makes of the test images.
type Reading struct {
	Accuracy float64
	// Counts are the images by their true digit and the one that was read.
	Counts [classes][classes]int
}

// Space is a latent space, looked at with test images.
type Space struct {
	Images int
	// Explained is the share of the variance that the first two principal components explain.
	Explained [2]float64
	// Divergence is what t-SNE has come to.
	Divergence float64
	// Codes are the codes themselves, PCA and TSNE their projections to the plane, and TSNE3 that to three dimensions.
	Codes, PCA, TSNE, TSNE3 Quality
}

// Quality says how well the digits are told apart in points, and how well these keep the neighbours of the codes.
type Quality struct {
	// Accuracy of telling a digit by the five nearest other points.
	Accuracy float64
	// Silhouette by digit: its mean over all points.
	Silhouette float64
	// Trustworthiness with five neighbours; 1 for the codes themselves.
	Trustworthiness float64
}

// Analyzer makes findings of material, step by step.
type Analyzer struct {
	*Material
	// note tells of what takes long as it begins.
	note     func(format string, args ...any)
	findings *Findings
	steps    []step
}

// step is a part of the analysis.
type step struct {
	name string
	run  func(context.Context) error
	// due says whether its material is there.
	due func() bool
	// long says that it takes minutes.
	long bool
}

// NewAnalyzer returns an analyzer of material, which may still come.
func NewAnalyzer(m *Material, note func(format string, args ...any)) *Analyzer {
	a := &Analyzer{Material: m, note: note, findings: &Findings{Pictures: map[uint32]paper.Picture{}}}
	plain := func() bool { return a.Autoencoder.Network != nil }
	variational := func() bool { return a.Variational.Network != nil }
	classifier := func() bool { return a.reader() != nil }
	a.steps = []step{
		{"reconstructions", a.reconstruct, plain, false},
		{"generated images", a.generate, func() bool { return plain() && classifier() }, false},
		{"denoising", a.denoise, func() bool { return len(a.Denoising) > 0 }, false},
		{"classifiers", a.classify, classifier, false},
		{"variational samples", a.sample, func() bool { return variational() && classifier() }, false},
		{"latent spaces", a.look, func() bool { return plain() && variational() }, true},
		{"losses", a.losses, plain, false},
	}
	return a
}

// Findings are those so far.
func (a *Analyzer) Findings() *Findings { return a.findings }

// Next takes the next step whose material is there, of those that are short or of all, and says whether there was one. A step
// that fails is taken again the next time. It returns ctx's error soon after ctx's end.
func (a *Analyzer) Next(ctx context.Context, all bool) (more bool, err error) {
	for i, step := range a.steps {
		if step.long && !all || !step.due() {
			continue
		}
		if err := step.run(ctx); err != nil {
			return false, fmt.Errorf("%s: %w", step.name, err)
		}
		a.steps = slices.Delete(a.steps, i, i+1)
		return true, nil
	}
	return false, nil
}

// Analyze makes findings of material: the same ones, bit for bit, of the same material. It returns an error that wraps
// ErrMaterial if something is missing, and ctx's error soon after ctx's end.
func Analyze(ctx context.Context, m *Material, note func(format string, args ...any)) (*Findings, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	a := NewAnalyzer(m, note)
	for {
		more, err := a.Next(ctx, true)
		if err != nil {
			return nil, err
		}
		if !more {
			return a.findings, nil
		}
	}
}

// draw keeps a figure.
func (a *Analyzer) draw(number uint32, f *figure.Figure, err error) error {
	if err != nil {
		return fmt.Errorf("draw figure %d: %w", number, err)
	}
	var png, svg bytes.Buffer
	if err := f.WritePNG(&png); err != nil {
		return fmt.Errorf("write figure %d: %w", number, err)
	}
	if err := f.WriteSVG(&svg); err != nil {
		return fmt.Errorf("write figure %d: %w", number, err)
	}
	a.findings.Pictures[number] = paper.Picture{PNG: png.Bytes(), SVG: svg.Bytes()}
	return nil
}

func (a *Analyzer) pictures(pixels []float32) figure.Images {
	return figure.Images{Pixels: pixels, Channels: a.Channels, Height: a.Height, Width: a.Width}
}

// reconstruct draws figure 2.
func (a *Analyzer) reconstruct(ctx context.Context) error {
	originals := a.images(0, min(examples, a.Test.Len()))
	images, err := a.Autoencoder.Network.Reconstruct(ctx, originals)
	if err != nil {
		return err
	}
	f, err := figure.Reconstructions(a.pictures(originals), a.pictures(images))
	return a.draw(2, f, err)
}

// denoise draws figure 4, with the strongest noise.
func (a *Analyzer) denoise(ctx context.Context) error {
	strongest := a.Denoising[len(a.Denoising)-1]
	parameters := strongest.Trial.GetParameters()
	originals := a.images(0, min(examples, a.Test.Len()))
	noisy := a.Corrupt(originals, parameters.Numeric(trainer.Noise), parameters.GetSeed())
	denoised, err := strongest.Network.Reconstruct(ctx, noisy)
	if err != nil {
		return err
	}
	f, err := figure.Denoising(a.pictures(originals), a.pictures(noisy), a.pictures(denoised))
	return a.draw(4, f, err)
}

// classify reads the test images, and draws figure 5: the classifier on the frozen encoder, as the paper's.
func (a *Analyzer) classify(ctx context.Context) (err error) {
	if a.Frozen != nil {
		if a.findings.Frozen, err = a.read(ctx, a.Frozen.Network); err != nil {
			return err
		}
	}
	if a.FineTuned != nil {
		if a.findings.FineTuned, err = a.read(ctx, a.FineTuned.Network); err != nil {
			return err
		}
	}
	shown := a.findings.Frozen
	if shown == nil {
		shown = a.findings.FineTuned
	}
	f, err := figure.Confusion(shown.Counts)
	return a.draw(5, f, err)
}

// pass is how many images go through a network at once, to bound memory.
const pass = 1000

// classify returns the logarithms of the probabilities of all classes for so many images. A network with other classes
// is an error: its answers would be taken for those of other images.
func classify(ctx context.Context, network Network, images []float32, n int) ([]float32, error) {
	logarithms, err := network.Classify(ctx, images)
	if err != nil {
		return nil, err
	}
	if len(logarithms) != n*classes {
		return nil, fmt.Errorf("%w: the classifier gives %d log-probabilities for %d images, want %d for each", ErrMaterial,
			len(logarithms), n, classes)
	}
	return logarithms, nil
}

func (a *Analyzer) read(ctx context.Context, network Network) (*Reading, error) {
	reading := new(Reading)
	right := 0
	for from := 0; from < a.Test.Len(); from += pass {
		to := min(from+pass, a.Test.Len())
		logarithms, err := classify(ctx, network, a.images(from, to), to-from)
		if err != nil {
			return nil, err
		}
		for i := range to - from {
			row := logarithms[i*classes : (i+1)*classes]
			digit, truth := slices.Index(row, slices.Max(row)), int(a.Test.Labels[from+i])
			if digit < 0 || truth >= classes {
				return nil, fmt.Errorf("%w: test image %d has the label %d and the log-probabilities %v", ErrMaterial,
					from+i, truth, row)
			}
			reading.Counts[truth][digit]++
			if digit == truth {
				right++
			}
		}
	}
	reading.Accuracy = float64(right) / float64(a.Test.Len())
	return reading, nil
}

// look draws figures 7 and 8.
func (a *Analyzer) look(ctx context.Context) error {
	for _, space := range []struct {
		number uint32
		of     *Trained
		into   **Space
	}{{7, &a.Autoencoder, &a.findings.Plain}, {8, &a.Variational, &a.findings.Variational}} {
		its := new(Space)
		panels, err := a.lookAt(ctx, space.of, its)
		if err != nil {
			return fmt.Errorf("latent space of study %s: %w", space.of.Study.GetName(), err)
		}
		f, err := figure.Embedding(panels)
		if err := a.draw(space.number, f, err); err != nil {
			return err
		}
		*space.into = its
	}
	return nil
}

func (a *Analyzer) lookAt(ctx context.Context, trained *Trained, space *Space) ([]figure.Panel, error) {
	space.Images = min(int(a.Analysis.GetImages()), a.Test.Len())
	labels := a.Test.Labels[:space.Images]
	codes, err := a.encode(ctx, trained, space.Images)
	if err != nil {
		return nil, err
	}
	if space.Codes, err = quality(ctx, codes, codes, labels); err != nil {
		return nil, err
	}
	plane, explained, err := latent.PCA(ctx, codes, 2)
	if err != nil {
		return nil, fmt.Errorf("find principal components: %w", err)
	}
	copy(space.Explained[:], explained)
	if space.PCA, err = quality(ctx, codes, plane, labels); err != nil {
		return nil, err
	}
	embed := func(dimensions int) (latent.Points, float64, error) {
		a.note("t-SNE of %d codes of study %s to %d dimensions, %d iterations", space.Images, trained.Study.GetName(),
			dimensions,
			a.Analysis.GetIterations())
		tsne := latent.TSNE{
			Dimensions: dimensions, Perplexity: a.Analysis.GetPerplexity(), Iterations: int(a.Analysis.GetIterations()),
			Seed: seed,
		}
		return tsne.Embed(ctx, codes)
	}
	solid, _, err := embed(3)
	if err != nil {
		return nil, fmt.Errorf("embed by t-SNE: %w", err)
	}
	if space.TSNE3, err = quality(ctx, codes, solid, labels); err != nil {
		return nil, err
	}
	embedding, divergence, err := embed(2)
	if err != nil {
		return nil, fmt.Errorf("embed by t-SNE: %w", err)
	}
	space.Divergence = divergence
	if space.TSNE, err = quality(ctx, codes, embedding, labels); err != nil {
		return nil, err
	}
	component := func(i int) string {
		return fmt.Sprintf("Principal component %d (%.1f%%)", i+1, 100*space.Explained[i])
	}
	return []figure.Panel{
		{Title: "PCA", XLabel: component(0), YLabel: component(1), Points: plane.Values, Labels: labels},
		{Title: "t-SNE", XLabel: "t-SNE 1", YLabel: "t-SNE 2", Points: embedding.Values, Labels: labels},
	}, nil
}

func (a *Analyzer) encode(ctx context.Context, trained *Trained, images int) (latent.Points, error) {
	points := latent.Points{Dim: int(trained.Trial.GetParameters().Numeric(grid.LatentDim))}
	for from := 0; from < images; from += pass {
		codes, err := trained.Network.Encode(ctx, a.images(from, min(from+pass, images)))
		if err != nil {
			return points, err
		}
		for _, value := range codes {
			points.Values = append(points.Values, float64(value))
		}
	}
	return points, nil
}

func quality(ctx context.Context, codes, points latent.Points, labels []byte) (q Quality, err error) {
	if q.Accuracy, err = latent.NearestNeighbourAccuracy(ctx, points, labels, neighbours); err != nil {
		return q, err
	}
	if q.Silhouette, _, err = latent.Silhouette(ctx, points, labels); err != nil {
		return q, err
	}
	if &codes.Values[0] == &points.Values[0] {
		q.Trustworthiness = 1
		return q, nil
	}
	q.Trustworthiness, err = latent.Trustworthiness(ctx, codes, points, neighbours)
	return q, err
}

// losses draws figure 9.
func (a *Analyzer) losses(context.Context) error {
	trial := a.Autoencoder.Trial
	f, err := figure.Losses(trial.GetTrainLoss(), trial.GetValidationLoss(), int(trial.GetBestEpoch()))
	return a.draw(9, f, err)
}
