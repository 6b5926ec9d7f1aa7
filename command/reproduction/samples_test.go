package reproduction

import (
	"context"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat"
)

// decoder keeps the codes that it has decoded.
type decoder struct {
	painted
	codes []float32
}

func (d *decoder) Decode(ctx context.Context, codes []float32) ([]float32, error) {
	d.codes = slices.Clone(codes)
	return d.painted.Decode(ctx, codes)
}

// The plain autoencoder gets codes like those of test images, the variational one what it has been trained for.
func TestCodesAreDrawnFromGaussians(t *testing.T) {
	m := material(1200)
	plain, variational := new(decoder), new(decoder)
	m.Autoencoder.Network, m.Variational.Network = plain, variational
	const samples = 4000
	m.Analysis = WithDefaults(small)
	m.Analysis.Samples = samples
	a := NewAnalyzer(m, func(string, ...any) {})
	if err := a.generate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	of, err := a.encode(t.Context(), &m.Autoencoder, m.Test.Len())
	if err != nil {
		t.Fatal(err)
	}
	for d := range codeSize {
		column := func(codes []float32) (values []float64) {
			for i := d; i < len(codes); i += codeSize {
				values = append(values, float64(codes[i]))
			}
			return values
		}
		var images []float64
		for i := range of.Len() {
			images = append(images, of.Row(i)[d])
		}
		mean, deviation := stat.MeanStdDev(images, nil)
		for _, drawn := range []struct {
			name            string
			codes           []float32
			mean, deviation float64
		}{{"plain", plain.codes, mean, deviation}, {"variational", variational.codes, 0, 1}} {
			gotMean, gotDeviation := stat.MeanStdDev(column(drawn.codes), nil)
			// Both are off by a deviation's 63rd and 89th part in one case of three.
			if math.Abs(gotMean-drawn.mean) > 0.08*drawn.deviation || math.Abs(gotDeviation/drawn.deviation-1) > 0.06 {
				t.Errorf("%s, dimension %d: mean %v and deviation %v, want %v and %v", drawn.name, d, gotMean,
					gotDeviation,
					drawn.mean, drawn.deviation)
			}
		}
	}
}

func TestSampling(t *testing.T) {
	// The log-probabilities of images that show a digit with the given probability, and all others alike.
	show := func(probability float64, digits ...int) (logarithms []float32) {
		for _, shown := range digits {
			for digit := range classes {
				p := (1 - probability) / (classes - 1)
				if digit == shown {
					p = probability
				}
				logarithms = append(logarithms, float32(math.Log(max(p, 1e-30))))
			}
		}
		return logarithms
	}
	for _, test := range []struct {
		name              string
		logarithms        []float32
		confidence, score float64
	}{
		{"all digits, surely", show(1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 1, 10},
		{"two digits, surely", show(1, 3, 3, 8, 8), 1, 2},
		{"one digit, surely", show(1, 8, 8, 8), 1, 1},
		{"no digit", show(0.1, 0, 1, 2), 0.1, 1},
		// The entropies are log 10 of all, and log 2 + log 9 / 2 of each.
		{"all digits, by half", show(0.5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 0.5, 10 / math.Exp(math.Log(2)+math.Log(9)/2)},
	} {
		got := sampling(test.logarithms)
		if math.Abs(got.Confidence-test.confidence) > 1e-6 || math.Abs(got.Score-test.score) > 1e-5 {
			t.Errorf("%s: %+v, want %v and %v", test.name, got, test.confidence, test.score)
		}
	}
}
