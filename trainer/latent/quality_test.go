package latent

import (
	"math"
	"testing"
)

func naiveTrustworthiness(original, embedding Points, k int) float64 {
	n := original.Len()
	var penalty float64
	for i := range n {
		rank := make([]int, n)
		for r, other := range naiveNeighbours(original, i) {
			rank[other.point] = r + 1
		}
		for _, other := range naiveNeighbours(embedding, i)[:k] {
			penalty += math.Max(0, float64(rank[other.point]-k))
		}
	}
	return 1 - 2*penalty/float64(n*k*(2*n-3*k-1))
}

func naiveAccuracy(points Points, labels []byte, k int) float64 {
	right := 0
	for i := range points.Len() {
		votes := map[byte]int{}
		for _, other := range naiveNeighbours(points, i)[:k] {
			votes[labels[other.point]]++
		}
		best := byte(0)
		for label := 255; label >= 0; label-- {
			if votes[byte(label)] >= votes[best] {
				best = byte(label)
			}
		}
		if best == labels[i] {
			right++
		}
	}
	return float64(right) / float64(points.Len())
}

func naiveSilhouette(points Points, labels []byte, i int) float64 {
	distances, counts := map[byte]float64{}, map[byte]float64{}
	for j := range points.Len() {
		if j != i {
			distances[labels[j]] += math.Sqrt(naiveDistance2(points.Row(i), points.Row(j)))
			counts[labels[j]]++
		}
	}
	if counts[labels[i]] == 0 {
		return 0
	}
	a, b := distances[labels[i]]/counts[labels[i]], math.Inf(1)
	for label := range counts {
		if label != labels[i] {
			b = min(b, distances[label]/counts[label])
		}
	}
	if a == 0 && b == 0 {
		return 0
	}
	return (b - a) / max(a, b)
}

// The measures are the definitions, also where many points are equally near.
func TestQuality(t *testing.T) {
	original, labels := clusters(t, 90, 6, 5, 12)
	labels[3] = 200 // The only one of its kind.
	blurred, _ := clusters(t, 90, 2, 3, 13)
	coarse := clone(blurred)
	for i, v := range coarse.Values {
		coarse.Values[i] = math.Round(v)
	}
	for name, embedding := range map[string]Points{
		"itself": original, "unlike": blurred, "coarse": coarse, "equal": {make([]float64, 180), 2},
	} {
		for _, k := range []int{1, 2, 5, 44} {
			got, err := Trustworthiness(t.Context(), original, embedding, k)
			if want := naiveTrustworthiness(original, embedding, k); err != nil || math.Abs(got-want) > 1e-12 {
				t.Errorf("%s: trustworthiness of %d neighbours %v, want %v (%v)", name, k, got, want, err)
			}
			accuracy, err := NearestNeighbourAccuracy(t.Context(), embedding, labels, k)
			if want := naiveAccuracy(embedding, labels, k); err != nil || accuracy != want {
				t.Errorf("%s: accuracy by %d neighbours %v, want %v (%v)", name, k, accuracy, want, err)
			}
		}
		mean, byLabel, err := Silhouette(t.Context(), embedding, labels)
		if err != nil || len(byLabel) != 201 {
			t.Fatalf("%s: %d silhouettes, want 201 (%v)", name, len(byLabel), err)
		}
		var want float64
		wantByLabel, counts := make([]float64, 201), make([]float64, 201)
		for i, label := range labels {
			s := naiveSilhouette(embedding, labels, i)
			want += s / 90
			wantByLabel[label] += s
			counts[label]++
		}
		if math.Abs(mean-want) > 1e-12 {
			t.Errorf("%s: silhouette %v, want %v", name, mean, want)
		}
		for label, got := range byLabel {
			want := wantByLabel[label] / counts[label]
			if !(math.Abs(got-want) <= 1e-12) && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%s: silhouette %v of label %d, want %v", name, got, label, want)
			}
		}
	}
	if got, err := Trustworthiness(t.Context(), original, original, 5); err != nil || got != 1 {
		t.Errorf("points are trusted %v of themselves (%v)", got, err)
	}
}
