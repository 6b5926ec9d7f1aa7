package latent

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// What can't be analysed is refused, and the error says why and what would be right.
func TestRefusals(t *testing.T) {
	good := plainClusters(100, 5)
	labels := make([]byte, 100)
	for i := range labels {
		labels[i] = byte(i % 2)
	}
	with := func(value float64) Points {
		p := clone(good)
		p.Row(7)[3] = value
		return p
	}
	embed := func(tsne TSNE, p Points) error { _, _, err := tsne.Embed(t.Context(), p); return err }
	pca := func(p Points, components int) error { _, _, err := PCA(t.Context(), p, components); return err }
	trust := func(p, q Points, k int) error { _, err := Trustworthiness(t.Context(), p, q, k); return err }
	accuracy := func(p Points, labels []byte, k int) error {
		_, err := NearestNeighbourAccuracy(t.Context(), p, labels, k)
		return err
	}
	silhouette := func(p Points, labels []byte) error { _, _, err := Silhouette(t.Context(), p, labels); return err }
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name    string
		err     error
		is      error
		message string
	}{
		{"no dimension", embed(TSNE{}, Points{}), ErrInvalidPoints, "dimension 0, want 1 or more"},
		{"negative dimension", pca(Points{good.Values, -1}, 1), ErrInvalidPoints, "dimension -1, want 1 or more"},
		{
			"ragged", embed(TSNE{}, Points{good.Values[:11], 5}), ErrInvalidPoints,
			"11 values are no whole number of rows of 5",
		},
		{"NaN", embed(TSNE{}, with(nan)), ErrInvalidPoints, "row 7 has NaN in column 3, want finite values"},
		{"infinite", embed(TSNE{}, with(-inf)), ErrInvalidPoints, "row 7 has -Inf in column 3"},
		{"far too large", embed(TSNE{}, with(1e101)), ErrInvalidPoints, "row 7 has 1e+101 in column 3"},
		{"no point", embed(TSNE{}, Points{Dim: 5}), ErrInvalidPoints, "t-SNE of 0 points, want 4 or more"},
		{"one point", embed(TSNE{}, Points{good.Values[:5], 5}), ErrInvalidPoints, "t-SNE of 1 points, want 4 or more"},
		{
			"few points", embed(TSNE{}, Points{good.Values[:450], 5}), ErrInvalidOption,
			"perplexity 30 for 90 points, want more than 90 points or a perplexity below 30",
		},
		{"perplexity", embed(TSNE{Perplexity: 0.5}, good), ErrInvalidOption, "perplexity is 0.5, want 1 or more"},
		{"NaN perplexity", embed(TSNE{Perplexity: nan}, good), ErrInvalidOption, "perplexity is NaN"},
		{"infinite perplexity", embed(TSNE{Perplexity: inf}, good), ErrInvalidOption, "perplexity is +Inf"},
		{"dimensions", embed(TSNE{Dimensions: 4}, good), ErrInvalidOption, "dimensions is 4, want 2 or 3"},
		{
			"theta", embed(TSNE{Theta: 1.5}, good), ErrInvalidOption,
			"theta is 1.5, want more than 0, up to 1, or ExactTheta",
		},
		{"NaN theta", embed(TSNE{Theta: nan}, good), ErrInvalidOption, "theta is NaN"},
		{
			"learning rate", embed(TSNE{LearningRate: -1}, good), ErrInvalidOption,
			"learning rate is -1, want more than 0",
		},
		{
			"exaggeration", embed(TSNE{EarlyExaggeration: 0.9}, good), ErrInvalidOption,
			"early exaggeration is 0.9, want 1 or more",
		},
		{"exaggeration iterations", embed(TSNE{ExaggerationIterations: -1}, good), ErrInvalidOption, "want 0 or more"},
		{
			"iterations", embed(TSNE{Iterations: -1}, good), ErrInvalidOption,
			"number of iterations is -1, want 0 or more",
		},
		{"start", embed(TSNE{Start: 2}, good), ErrInvalidOption, "start is 2, want StartPCA or StartRandom"},
		{
			"gradient norm", embed(TSNE{MinGradientNorm: -1}, good), ErrInvalidOption,
			"least gradient norm is -1, want 0 or more",
		},
		{"runaway", embed(TSNE{Perplexity: 10, LearningRate: 1e300}, good), ErrDiverged, "at learning rate 1e+300"},
		{"one point's components", pca(Points{good.Values[:5], 5}, 1), ErrInvalidPoints, "1 points, want 2 or more"},
		{
			"no component", pca(good, 0), ErrInvalidOption,
			"0 principal components of 100 points in 5 dimensions, want 1 to 5",
		},
		{"too many components", pca(Points{good.Values[:15], 5}, 4), ErrInvalidOption, "want 1 to 3"},
		{"NaN components", pca(with(nan), 2), ErrInvalidPoints, "row 7 has NaN in column 3"},
		{
			"too few to trust", trust(Points{good.Values[:10], 5}, Points{good.Values[:10], 5}, 1), ErrInvalidPoints,
			"2 points, want 3 or more",
		},
		{"too many neighbours to trust", trust(good, good, 50), ErrInvalidOption, "50 neighbours, want 1 to 49"},
		{"no neighbours to trust", trust(good, good, 0), ErrInvalidOption, "0 neighbours, want 1 to 49"},
		{
			"other number of points", trust(good, Points{good.Values[:10], 5}, 5), ErrInvalidPoints,
			"the embedding has 2, the original 100",
		},
		{"NaN in the embedding", trust(good, with(nan), 5), ErrInvalidPoints, "embedding: invalid points: row 7"},
		{
			"one point's accuracy", accuracy(Points{good.Values[:5], 5}, labels[:1], 1), ErrInvalidPoints,
			"1 points, want 2 or more",
		},
		{"too many neighbours", accuracy(good, labels, 100), ErrInvalidOption, "100 neighbours, want 1 to 99"},
		{
			"too few labels", accuracy(good, labels[:99], 5), ErrInvalidPoints,
			"99 labels for 100 points, want one for each",
		},
		{
			"one point's silhouette", silhouette(Points{good.Values[:5], 5}, labels[:1]), ErrInvalidPoints,
			"1 points, want 2 or more",
		},
		{
			"one label", silhouette(good, make([]byte, 100)), ErrInvalidPoints,
			"all labels are 0, want two kinds or more",
		},
		{"infinite silhouette", silhouette(with(inf), labels), ErrInvalidPoints, "row 7 has +Inf"},
		{"too many labels", silhouette(good, make([]byte, 101)), ErrInvalidPoints, "101 labels for 100 points"},
	} {
		if !errors.Is(test.err, test.is) || !strings.Contains(test.err.Error(), test.message) {
			t.Errorf("%s: error %v, want %q", test.name, test.err, test.message)
		}
	}
}

// Points that coincide, that lie on a line, that are tiny or huge or the fewest there may be, are embedded to finite
// ones.
func TestDegenerateEmbeddings(t *testing.T) {
	scaled := func(factor float64) Points {
		p := plainClusters(100, 5)
		for i := range p.Values {
			p.Values[i] *= factor
		}
		return p
	}
	copies := plainClusters(100, 5)
	for i := range 100 {
		copy(copies.Row(i), copies.Row(i%5))
	}
	line, outlier := Points{make([]float64, 100), 1}, plainClusters(100, 5)
	for i := range line.Values {
		line.Values[i] = float64(i)
	}
	outlier.Row(50)[2] = 1e100
	for name, points := range map[string]Points{
		"equal": {make([]float64, 500), 5}, "five places": copies, "a line": line, "one far away": outlier,
		"huge": scaled(1e99), "tiny": scaled(1e-300), "subnormal": scaled(1e-320), "fewest": {[]float64{1, 5, 2, 4}, 1},
	} {
		for _, dim := range []int{2, 3} {
			perplexity := min(10, float64(points.Len()-1)/3)
			options := TSNE{Perplexity: perplexity, ExaggerationIterations: 50, Iterations: 100, Dimensions: dim}
			y, divergence, err := options.Embed(t.Context(), points)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := y.check(points.Len()); err != nil || !(math.Abs(divergence) < 20) {
				t.Errorf("%s: divergence %v (%v)", name, divergence, err)
			}
			if name == "five places" {
				place := make([]byte, 100)
				for i := range place {
					place[i] = byte(i % 5)
				}
				if accuracy, err := NearestNeighbourAccuracy(t.Context(), y, place, 5); err != nil || accuracy != 1 {
					t.Errorf("the copies of a point are mixed with others: accuracy %v, want 1 (%v)", accuracy, err)
				}
			}
		}
		projection, explained, err := PCA(t.Context(), points, 1)
		if err != nil {
			t.Errorf("PCA, %s: %v", name, err)
			continue
		}
		share := 1.0
		if name == "equal" {
			share = 0
		}
		if err := projection.check(points.Len()); err != nil || math.Abs(sum(explained)-share) > 1e-12 {
			t.Errorf("PCA, %s: explained %v (%v)", name, explained, err)
		}
	}
}

// The smallest sets that can be measured are.
func TestSmallest(t *testing.T) {
	three := Points{[]float64{0, 1, 5}, 1}
	if got, err := Trustworthiness(t.Context(), three, Points{[]float64{5, 0, 1}, 1}, 1); err != nil ||
		math.Abs(got-1.0/3) > 1e-15 {
		t.Errorf("trustworthiness %v, want 1/3 (%v)", got, err)
	}
	if got, err := NearestNeighbourAccuracy(t.Context(), Points{[]float64{0, 1}, 1}, []byte{3, 3}, 1); err != nil ||
		got != 1 {
		t.Errorf("accuracy %v, want 1 (%v)", got, err)
	}
	if got, _, err := Silhouette(t.Context(), Points{[]float64{0, 0}, 1}, []byte{0, 255}); err != nil || got != 0 {
		t.Errorf("silhouette %v, want 0 (%v)", got, err)
	}
}
