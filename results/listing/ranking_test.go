package listing

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// someLosses are of all sorts, some of them twice.
var someLosses = []float64{0.5, 0.25, 0.25, 0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1e-300, 3}

// anyLoss draws losses of all sorts, and often the same.
var anyLoss = rapid.OneOf(rapid.SampledFrom(someLosses), rapid.Float64(),
	rapid.Map(rapid.Uint64(), math.Float64frombits))

var anyTrial = rapid.Custom(func(t *rapid.T) *trellisv1.Trial {
	trial := &trellisv1.Trial{
		Index:      rapid.Uint64Range(0, 3).Draw(t, "index"),
		Parameters: &trellisv1.Parameters{MaxEpochs: rapid.SampledFrom([]uint32{1, 2, 256, 1 << 31}).Draw(t, "epochs"), Values: trellisv1.ValuesOf(map[string]any{"latent_dim": rapid.SampledFrom([]uint32{1, 2, 256, 1 << 31}).Draw(t, "latent")})},
	}
	if rapid.IntRange(0, 9).Draw(t, "answered") > 0 {
		trial.Objective = proto.Float64(anyLoss.Draw(t, "objective"))
	}
	return trial
})

// TestRankKey: the index ranks as the comparison does.
func TestRankKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyTrial.Draw(t, "a"), anyTrial.Draw(t, "b")
		r := Ranking{Maximize: rapid.Bool().Draw(t, "maximize")}
		ka, kb := r.Key(a), r.Key(b)
		if got, want := bytes.Compare(ka[:], kb[:]), r.Compare(a, b); got != want {
			t.Fatalf("by key %d, by comparison %d:\n%v\n%v", got, want, a, b)
		}
		if r.Compare(a, b) != -r.Compare(b, a) {
			t.Fatalf("not antisymmetric:\n%v\n%v", a, b)
		}
	})
}

func TestCompare(t *testing.T) {
	trial := func(objective float64, latentDim, epochs uint32, index uint64) *trellisv1.Trial {
		return &trellisv1.Trial{
			Objective: &objective, Index: index, Parameters: &trellisv1.Parameters{MaxEpochs: epochs, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": latentDim})},
		}
	}
	// Best first; no two are equal.
	ranked := []*trellisv1.Trial{
		trial(-1, 9, 9, 9),
		trial(0, 1, 1, 1),
		trial(math.Copysign(0, -1), 1, 1, 2),
		trial(0, 1, 1, 3),
		trial(0.1, 8, 9, 9),
		trial(0.1, 9, 8, 9),
		trial(0.1, 9, 9, 8),
		trial(0.1, 9, 9, 9),
		trial(math.MaxFloat64, 1, 1, 1),
		trial(math.NaN(), 1, 1, 1),
		trial(math.Inf(-1), 1, 1, 2),
		trial(math.Inf(1), 1, 2, 0),
		{Index: 3, Parameters: &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 2})}},
	}
	r := Ranking{}
	for i, a := range ranked {
		for j, b := range ranked {
			if got, want := r.Compare(a, b), cmp.Compare(i, j); got != want {
				t.Errorf("Compare of %d and %d: %d, want %d", i, j, got, want)
			}
			ka, kb := r.Key(a), r.Key(b)
			if got, want := bytes.Compare(ka[:], kb[:]), cmp.Compare(i, j); got != want {
				t.Errorf("keys of %d and %d: %d, want %d", i, j, got, want)
			}
		}
	}
	slices.Reverse(ranked)
	slices.SortFunc(ranked, r.Compare)
	if ranked[0].Index != 9 || *ranked[0].Objective != -1 {
		t.Errorf("best of all: %v", ranked[0])
	}
}
