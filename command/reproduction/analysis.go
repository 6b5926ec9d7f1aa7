package reproduction

import (
	"context"
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/figure"
	"trellis/results/grid"
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

// classes is how many digits there are.
const classes = 10

// Findings are the numbers that the analysis gives, beside those of the studies.
type Findings struct {
	// Frozen and FineTuned are the classifiers' answers on the test images.
	Frozen, FineTuned *Reading
	// Sampled is how the classifier reads images that the variational autoencoder has drawn, and Generated how it reads
	// those of the plain one.
	Sampled, Generated Sampling
	// Plain and Variational are the latent spaces.
	Plain, Variational Space
	// Figures by their number in the paper.
	Figures map[int]*figure.Figure
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

// analyzer makes findings, step by step.
type analyzer struct {
	*Material
	analysis *trellisv1.Analysis
	// note tells of each step as it begins.
	note     func(format string, args ...any)
	findings *Findings
}

// Analyze makes findings of material: the same ones, bit for bit, of the same material. It returns an error that wraps
// ErrMaterial if something is missing, and ctx's error soon after ctx's end.
func Analyze(
	ctx context.Context, m *Material, analysis *trellisv1.Analysis, note func(format string, args ...any),
) (*Findings, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	a := &analyzer{
		Material: m, analysis: WithDefaults(analysis), note: note,
		findings: &Findings{Figures: map[int]*figure.Figure{}},
	}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"reconstructions", a.reconstruct},
		{"generated images", a.generate},
		{"denoising", a.denoise},
		{"classifiers", a.classify},
		{"variational samples", a.sample},
		{"latent spaces", a.look},
		{"losses", a.losses},
	} {
		if err := step.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return a.findings, nil
}

// draw keeps a figure.
func (a *analyzer) draw(number int, f *figure.Figure, err error) error {
	if err != nil {
		return fmt.Errorf("draw figure %d: %w", number, err)
	}
	a.findings.Figures[number] = f
	return nil
}

func (a *analyzer) pictures(pixels []float32) figure.Images {
	return figure.Images{Pixels: pixels, Height: a.Height, Width: a.Width}
}

// reconstruct draws figure 2.
func (a *analyzer) reconstruct(ctx context.Context) error {
	originals := a.images(0, min(examples, a.Test.Len()))
	images, err := a.Autoencoder.Network.Reconstruct(ctx, originals)
	if err != nil {
		return err
	}
	f, err := figure.Reconstructions(a.pictures(originals), a.pictures(images))
	return a.draw(2, f, err)
}

// denoise draws figure 4, with the strongest noise.
func (a *analyzer) denoise(ctx context.Context) error {
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
func (a *analyzer) classify(ctx context.Context) (err error) {
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

func (a *analyzer) read(ctx context.Context, network Network) (*Reading, error) {
	reading := new(Reading)
	right := 0
	for from := 0; from < a.Test.Len(); from += pass {
		to := min(from+pass, a.Test.Len())
		logarithms, err := network.Classify(ctx, a.images(from, to))
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
func (a *analyzer) look(ctx context.Context) error {
	for _, space := range []struct {
		number int
		of     *Trained
		into   *Space
	}{{7, &a.Autoencoder, &a.findings.Plain}, {8, &a.Variational, &a.findings.Variational}} {
		panels, err := a.lookAt(ctx, space.of, space.into)
		if err != nil {
			return fmt.Errorf("latent space of study %s: %w", space.of.Study.GetName(), err)
		}
		f, err := figure.Embedding(panels)
		if err := a.draw(space.number, f, err); err != nil {
			return err
		}
	}
	return nil
}

func (a *analyzer) lookAt(ctx context.Context, trained *Trained, space *Space) ([]figure.Panel, error) {
	space.Images = min(int(a.analysis.GetImages()), a.Test.Len())
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
			a.analysis.GetIterations())
		tsne := latent.TSNE{
			Dimensions: dimensions, Perplexity: a.analysis.GetPerplexity(), Iterations: int(a.analysis.GetIterations()),
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
		return fmt.Sprintf("principal component %d (%.1f%% of the variance)", i+1, 100*space.Explained[i])
	}
	return []figure.Panel{
		{Title: "PCA", XLabel: component(0), YLabel: component(1), Points: plane.Values, Labels: labels},
		{Title: "t-SNE", XLabel: "t-SNE 1", YLabel: "t-SNE 2", Points: embedding.Values, Labels: labels},
	}, nil
}

func (a *analyzer) encode(ctx context.Context, trained *Trained, images int) (latent.Points, error) {
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
func (a *analyzer) losses(context.Context) error {
	trial := a.Autoencoder.Trial
	f, err := figure.Losses(trial.GetTrainLoss(), trial.GetValidationLoss(), int(trial.GetBestEpoch()))
	return a.draw(9, f, err)
}
