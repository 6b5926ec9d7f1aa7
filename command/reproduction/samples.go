package reproduction

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"trellis/results/grid"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"trellis/results/figure"
)

// Sampling is what a classifier makes of drawn images. They are good if each is clearly one digit, and all digits are
// among them.
type Sampling struct {
	// Confidence is the mean of the highest of the ten probabilities.
	Confidence float64
	// Score is the inception score (Salimans et al., 2016) by the classifier: the exponential of the mean
	// Kullback-Leibler divergence of an image's probabilities from those of all images. It is 1 if images tell nothing
	// of the digit, or all show the same one, and 10 if each is surely one of ten digits that are equally frequent.
	Score float64
}

// generate draws figure 3. The paper does not say which Gaussian distribution its codes are from. A plain autoencoder's
// codes lie where they will, far from the standard normal ones, which it decodes to black: so these have the mean and
// the deviation of the test images' codes, in each dimension by itself.
func (a *Analyzer) generate(ctx context.Context) error {
	codes, err := a.encode(ctx, &a.Autoencoder, a.Test.Len())
	if err != nil {
		return err
	}
	normals := make([]distuv.Normal, codes.Dim)
	column := make([]float64, codes.Len())
	for d := range normals {
		for i := range column {
			column[i] = codes.Row(i)[d]
		}
		normals[d].Mu, normals[d].Sigma = stat.PopMeanStdDev(column, nil)
	}
	images, read, err := a.fromGaussian(ctx, &a.Autoencoder, normals)
	if err != nil {
		return err
	}
	a.findings.Generated = &read
	size := a.size()
	f, err := figure.Generated(a.pictures(images[:examples*size]))
	return a.draw(3, f, err)
}

// sample draws figure 6.
func (a *Analyzer) sample(ctx context.Context) error {
	standard := slices.Repeat([]distuv.Normal{distuv.UnitNormal},
		int(a.Variational.Trial.GetParameters().Numeric(grid.LatentDim)))
	images, read, err := a.fromGaussian(ctx, &a.Variational, standard)
	if err != nil {
		return err
	}
	a.findings.Sampled = &read
	f, err := figure.Samples(a.pictures(images[:sampledImages*a.size()]))
	return a.draw(6, f, err)
}

// fromGaussian decodes codes with the given distributions of their dimensions, and says how the classifier reads the
// images.
func (a *Analyzer) fromGaussian(
	ctx context.Context, from *Trained, normals []distuv.Normal,
) (images []float32, read Sampling, err error) {
	random := rand.New(rand.NewPCG(seed, 0))
	codes := make([]float32, int(a.Analysis.GetSamples())*len(normals))
	for i := range codes {
		normal := normals[i%len(normals)]
		codes[i] = float32(normal.Mu + float64(normal.Sigma*random.NormFloat64()))
	}
	if images, err = from.Network.Decode(ctx, codes); err != nil {
		return nil, Sampling{}, err
	}
	logarithms, err := classify(ctx, a.reader().Network, images, int(a.Analysis.GetSamples()))
	if err != nil {
		return nil, Sampling{}, err
	}
	return images, sampling(logarithms), nil
}

// sampling sums up the log-probabilities of one image after the other.
func sampling(logarithms []float32) Sampling {
	var highest, certainty float64
	var all [classes]float64
	for row := range slices.Chunk(logarithms, classes) {
		highest += math.Exp(float64(slices.Max(row)))
		for digit, logarithm := range row {
			// Of an image, it is the negative entropy.
			probability := math.Exp(float64(logarithm))
			certainty += float64(probability * float64(logarithm))
			all[digit] += probability
		}
	}
	images := float64(len(logarithms) / classes)
	divergence := certainty / images
	for _, sum := range all {
		if share := sum / images; share > 0 {
			divergence -= float64(share * math.Log(share))
		}
	}
	return Sampling{Confidence: highest / images, Score: math.Exp(divergence)}
}
