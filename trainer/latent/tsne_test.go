package latent

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
)

// plainClusters draws points with exact arithmetic alone, so that they have the same bits on every platform.
func plainClusters(n, dim int) Points {
	random := rand.New(rand.NewPCG(1, 2))
	points := Points{Values: make([]float64, n*dim), Dim: dim}
	for i := range points.Values {
		center := (i / dim % 4) >> (i % dim % 2) & 1
		points.Values[i] = random.Float64() + float64(2*center)
	}
	return points
}

func hash(values ...float64) string {
	var bytes []byte
	for _, v := range values {
		bytes = binary.LittleEndian.AppendUint64(bytes, math.Float64bits(v))
	}
	return fmt.Sprintf("%x", sha256.Sum256(bytes))[:16]
}

// The embedding's bits are these on every platform, whatever GOMAXPROCS is: those of another processor, compiler or
// number of goroutines would differ after a few iterations already.
func TestBits(t *testing.T) {
	points := plainClusters(230, 5)
	labels := make([]byte, 230)
	for i := range labels {
		labels[i] = byte(i % 4)
	}
	for _, test := range []struct {
		tsne TSNE
		want string
	}{
		{TSNE{Perplexity: 20, ExaggerationIterations: 60, Iterations: 100}, "198c96e59a2a3b02"},
		{
			TSNE{
				Perplexity: 11, ExaggerationIterations: 60, Iterations: 100, Dimensions: 3,
				Start: StartRandom, Seed: 7,
			},
			"4585218da88a8f2c",
		},
		{TSNE{Perplexity: 11, Iterations: 20, Theta: ExactTheta}, "d9289f6ab57c1f7e"},
	} {
		for _, processors := range []int{1, 3} {
			withProcessors(processors, func() {
				y, divergence, err := test.tsne.Embed(t.Context(), points)
				if err != nil {
					t.Fatal(err)
				}
				if got := hash(append(y.Values, divergence)...); got != test.want {
					t.Errorf("%+v with %d processors: bits %s, want %s", test.tsne, processors, got, test.want)
				}
			})
		}
	}
	const want = "51a3dec797edf331"
	for _, processors := range []int{1, 3} {
		withProcessors(processors, func() {
			projection := Points{points.Values[:460], 2}
			trust, err := Trustworthiness(t.Context(), points, projection, 5)
			accuracy, err2 := NearestNeighbourAccuracy(t.Context(), points, labels, 5)
			mean, byLabel, err3 := Silhouette(t.Context(), points, labels)
			if err := errors.Join(err, err2, err3); err != nil {
				t.Fatal(err)
			}
			if got := hash(append(byLabel, trust, accuracy, mean)...); got != want {
				t.Errorf("measures with %d processors: bits %s, want %s", processors, got, want)
			}
		})
	}
}

func withProcessors(n int, f func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	f()
}

// PCA has no pinned bits, but the same ones each time.
func TestPCARepeats(t *testing.T) {
	points, _ := clusters(t, 200, 6, 4, 3)
	bits := map[string]bool{}
	for _, processors := range []int{1, 2, 8} {
		withProcessors(processors, func() {
			projection, explained, err := PCA(t.Context(), points, 3)
			if err != nil {
				t.Fatal(err)
			}
			bits[hash(append(projection.Values, explained...)...)] = true
		})
	}
	if len(bits) != 1 {
		t.Errorf("PCA has given %d results", len(bits))
	}
}

// Clusters that are apart stay apart, in the plane and in space, however the points start; their neighbours stay
// neighbours; and the divergence falls to what is reported last.
func TestClustersStayApart(t *testing.T) {
	points, labels := clusters(t, 150, 10, 5, 21)
	for _, tsne := range []TSNE{{}, {Dimensions: 3}, {Start: StartRandom, Seed: 5}} {
		tsne.Perplexity, tsne.ExaggerationIterations, tsne.Iterations = 10, 100, 300
		var reported []float64
		tsne.Progress = func(iteration, total int, divergence float64) {
			reported = append(reported, divergence)
			if iteration != 50*len(reported) || total != 300 {
				t.Errorf("told of iteration %d of %d, want %d of 300", iteration, total, 50*len(reported))
			}
		}
		y, divergence, err := tsne.Embed(t.Context(), points)
		if err != nil {
			t.Fatal(err)
		}
		if y.Len() != 150 || len(reported) != 6 || reported[5] != divergence || !(divergence < reported[1]) {
			t.Errorf("%d points, divergences %v, the last %v", y.Len(), reported, divergence)
		}
		accuracy, err := NearestNeighbourAccuracy(t.Context(), y, labels, 5)
		if err != nil || accuracy != 1 {
			t.Errorf("%d dimensions: accuracy %v, want 1 (%v)", y.Dim, accuracy, err)
		}
		silhouette, _, err := Silhouette(t.Context(), y, labels)
		if err != nil || silhouette < 0.6 {
			t.Errorf("%d dimensions: silhouette %v, want 0.6 or more (%v)", y.Dim, silhouette, err)
		}
		trust, err := Trustworthiness(t.Context(), points, y, 12)
		if err != nil || trust < 0.93 {
			t.Errorf("%d dimensions: trustworthiness %v, want 0.93 or more (%v)", y.Dim, trust, err)
		}
		t.Logf("divergence %.4f, silhouette %.3f, trustworthiness %.4f", divergence, silhouette, trust)
		for d := range y.Dim {
			var mean float64
			for i := range 150 {
				mean += y.Row(i)[d] / 150
			}
			if math.Abs(mean) > 1e-9 {
				t.Errorf("the mean is %v along axis %d", mean, d)
			}
		}
	}
}

// Without another choice the seed does not matter to StartPCA, but does to StartRandom.
func TestSeed(t *testing.T) {
	points := plainClusters(100, 5)
	embed := func(start Start, seed uint32) string {
		y, _, err := TSNE{Perplexity: 10, Iterations: 5, Start: start, Seed: seed}.Embed(t.Context(), points)
		if err != nil {
			t.Fatal(err)
		}
		return hash(y.Values...)
	}
	if embed(StartPCA, 1) != embed(StartPCA, 2) || embed(StartRandom, 1) == embed(StartRandom, 2) {
		t.Error("the seed determines the wrong thing")
	}
}

// A gradient that is as good as zero ends the iterations at the first review after those with exaggeration.
func TestMinGradientNorm(t *testing.T) {
	last := 0
	_, divergence, err := TSNE{
		Perplexity: 10, Iterations: 1000, ExaggerationIterations: 20, MinGradientNorm: 1e9,
		Progress: func(iteration, _ int, _ float64) { last = iteration },
	}.Embed(t.Context(), plainClusters(100, 5))
	if err != nil || last != 50 || math.IsNaN(divergence) {
		t.Errorf("ended after %d iterations with divergence %v, want 50 (%v)", last, divergence, err)
	}
}

// canceling is a context that ends when it has been asked for its error a number of times.
type canceling struct {
	context.Context
	asked chan struct{} // As many places as questions are left.
	late  chan struct{} // Takes those that come after the end.
}

func newCanceling(ctx context.Context, questions int) *canceling {
	c := &canceling{ctx, make(chan struct{}, questions), make(chan struct{}, 1<<16)}
	return c
}

func (c *canceling) Err() error {
	select {
	case c.asked <- struct{}{}:
		return nil
	default:
		c.late <- struct{}{}
		return context.Canceled
	}
}

// Whenever the context ends, everything returns its error with a few more looks at it: every goroutine's one, and one
// for each level of the calls. TestMain sees that no goroutine is left.
func TestCancel(t *testing.T) {
	points, labels := clusters(t, 300, 4, 4, 2)
	plane := Points{points.Values[:600], 2}
	for name, run := range map[string]func(context.Context) error{
		"PCA":  func(ctx context.Context) error { _, _, err := PCA(ctx, points, 2); return err },
		"TSNE": func(ctx context.Context) error { _, _, err := TSNE{}.Embed(ctx, points); return err },
		"trustworthiness": func(ctx context.Context) error {
			_, err := Trustworthiness(ctx, points, plane, 5)
			return err
		},
		"accuracy": func(ctx context.Context) error {
			_, err := NearestNeighbourAccuracy(ctx, points, labels, 5)
			return err
		},
		"silhouette": func(ctx context.Context) error { _, _, err := Silhouette(ctx, points, labels); return err },
	} {
		for _, questions := range []int{0, 1, 5, 15, 40, 60, 200, 1000} {
			ctx := newCanceling(t.Context(), questions)
			err := run(ctx)
			if len(ctx.asked) < questions {
				break // It was done before.
			}
			if len(ctx.late) > 0 && !errors.Is(err, context.Canceled) {
				t.Errorf("%s, ended at question %d: error %v", name, questions, err)
			}
			if late := len(ctx.late); late > 4*runtime.GOMAXPROCS(0)+blockLength {
				t.Errorf("%s, ended at question %d: asked %d times more", name, questions, late)
			}
		}
	}
}
