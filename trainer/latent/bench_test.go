package latent

import (
	"fmt"
	"testing"
)

// benchmarkDim is how many dimensions the codes have that are projected: the best autoencoder's.
const benchmarkDim = 32

func reportPoints(b *testing.B, points Points) {
	b.ReportMetric(float64(b.N)*float64(points.Len())/b.Elapsed().Seconds(), "points/s")
}

func benchmarkTSNE(b *testing.B, n, dimensions int) {
	points, _ := clusters(b, n, benchmarkDim, 10, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := (TSNE{Dimensions: dimensions}).Embed(b.Context(), points); err != nil {
			b.Fatal(err)
		}
	}
	reportPoints(b, points)
}

// A whole embedding, with all 1,000 iterations. That of 10,000 points has the build tag soak.
func BenchmarkTSNE(b *testing.B) {
	for _, dimensions := range []int{2, 3} {
		b.Run(fmt.Sprintf("points=2000/dimensions=%d", dimensions),
			func(b *testing.B) { benchmarkTSNE(b, 2000, dimensions) })
	}
}

// One iteration, of an embedding that has been spread out already: at 10,000 points nearly all of t-SNE's time.
func BenchmarkIteration(b *testing.B) {
	points, _ := clusters(b, 10_000, benchmarkDim, 10, 1)
	a, err := newAffinities(b.Context(), points, DefaultPerplexity)
	if err != nil {
		b.Fatal(err)
	}
	for _, dimensions := range []int{2, 3} {
		spread, _ := clusters(b, 10_000, dimensions, 10, 2)
		d := newDescent(b.Context(), a, spread.Values, dimensions, DefaultTheta)
		b.Cleanup(d.stop)
		b.Run(fmt.Sprintf("points=10000/dimensions=%d", dimensions), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := d.computeForces(); err != nil {
					b.Fatal(err)
				}
				// So small a step that the embedding stays as it is, however many iterations there are.
				if _, err := d.step(1, 0, 1e-9); err != nil {
					b.Fatal(err)
				}
			}
			reportPoints(b, points)
		})
	}
}

func BenchmarkAffinities(b *testing.B) {
	points, _ := clusters(b, 10_000, benchmarkDim, 10, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newAffinities(b.Context(), points, DefaultPerplexity); err != nil {
			b.Fatal(err)
		}
	}
	reportPoints(b, points)
}

func BenchmarkNearestNeighbours(b *testing.B) {
	for _, k := range []int{5, 90} {
		points, _ := clusters(b, 10_000, benchmarkDim, 10, 1)
		b.Run(fmt.Sprintf("points=10000/neighbours=%d", k), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := nearestNeighbours(b.Context(), points, k); err != nil {
					b.Fatal(err)
				}
			}
			reportPoints(b, points)
		})
	}
}

func BenchmarkPCA(b *testing.B) {
	points, _ := clusters(b, 10_000, benchmarkDim, 10, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := PCA(b.Context(), points, 2); err != nil {
			b.Fatal(err)
		}
	}
	reportPoints(b, points)
}

func BenchmarkQuality(b *testing.B) {
	points, labels := clusters(b, 10_000, benchmarkDim, 10, 1)
	plane, _ := clusters(b, 10_000, 2, 10, 2)
	for _, of := range []struct {
		name    string
		measure func() error
	}{
		{"trustworthiness", func() error { _, err := Trustworthiness(b.Context(), points, plane, 5); return err }},
		{"accuracy", func() error { _, err := NearestNeighbourAccuracy(b.Context(), plane, labels, 5); return err }},
		{"silhouette", func() error { _, _, err := Silhouette(b.Context(), plane, labels); return err }},
	} {
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := of.measure(); err != nil {
					b.Fatal(err)
				}
			}
			reportPoints(b, points)
		})
	}
}
