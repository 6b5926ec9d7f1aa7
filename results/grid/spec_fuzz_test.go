//go:build !race

package grid

import (
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// maxSpecMemory is what it may take to check a spec of a client and to look at its grid, in bytes, besides a
// multiple of the spec's own size.
const maxSpecMemory = 64 << 20

// FuzzSpec: whatever a client sends for a spec, it is refused, or its grid has the points that it counts, and each
// has the index that it is found at. FuzzParseSpec is about files.
func FuzzSpec(f *testing.F) {
	add := func(spec *trellisv1.StudySpec) {
		data, err := proto.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	add(newSpec())
	add(largeSpec())
	add(&trellisv1.StudySpec{})
	for _, change := range []func(*trellisv1.StudySpec){
		func(s *trellisv1.StudySpec) { s.Grid = append(s.Grid, s.Grid[0], nil) },
		func(s *trellisv1.StudySpec) {
			s.Grid = append(s.Grid, proto.CloneOf(s.Grid[0]))
			s.Grid[1].Axes["latent_dim"] = integers(8, 16)
		},
		func(s *trellisv1.StudySpec) {
			s.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Log10: &trellisv1.Range{From: 1e-4, To: 1e-2, Count: 3}}
			s.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Log2: &trellisv1.Range{From: 4, To: 64, Count: 5}}
		},
		func(s *trellisv1.StudySpec) {
			s.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: 2, Count: 1<<32 - 1}}
			s.Seeds = &trellisv1.Axis{Linear: &trellisv1.Range{From: 0, To: 1<<32 - 1, Count: 1<<32 - 1}}
		},
		func(s *trellisv1.StudySpec) {
			s.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
				Asha: &trellisv1.SuccessiveHalving{MinEpochs: 1},
			}}
			s.Settle, s.Audit, s.Seeds = &trellisv1.Settle{MaxSeeds: 5}, 0.5, integers(1, 2)
		},
		func(s *trellisv1.StudySpec) {
			s.Grid[0].Axes["latent_dim"], s.Grid[0].Axes["weight_decay"], s.Seeds = integers(8, 4, 8), numbers(0, 0), integers(0, 0)
		},
		func(s *trellisv1.StudySpec) {
			s.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Linear: newRange(1, 2, 4)}
			s.Grid[0].Axes["max_epochs"] = &trellisv1.Axis{Log10: newRange(1, 1000, 3)}
			s.Grid[0].Axes["batch_size"] = &trellisv1.Axis{Log2: newRange(16, 100, 3)}
		},
		func(s *trellisv1.StudySpec) {
			s.Grid[0].Axes["max_epochs"] = &trellisv1.Axis{Log10: newRange(1, 1000, 4)}
			s.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{
				Median: &trellisv1.MedianStopping{MinEpochs: 9999},
			}}
			s.Settle, s.Seeds = &trellisv1.Settle{MaxSeeds: 2}, integers(1, 2, 3)
		},
	} {
		spec := newSpec()
		change(spec)
		add(spec)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec := &trellisv1.StudySpec{}
		if proto.Unmarshal(data, spec) != nil {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		defer func() {
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > maxSpecMemory+10_000*uint64(len(data)) {
				t.Errorf("%d bytes of memory for %d", took, len(data))
			}
		}()
		kept := proto.CloneOf(spec)
		for _, model := range testModels {
			spec.Model = model.GetName()
			kept.Model = spec.Model
			err := testModels.Validate(spec)
			if !proto.Equal(spec, kept) {
				t.Fatal("the check has changed the spec")
			}
			if err != nil {
				continue
			}
			checkIndices(t, testModels.WithDefaults(knownLatentDim(spec)))
		}
	})
}

// checkIndices wants that the first and the last points of a valid spec's grid are where the grid finds them.
func checkIndices(t *testing.T, spec *trellisv1.StudySpec) {
	t.Helper()
	g, err := New(spec)
	if err != nil {
		return // The latent dimension comes from elsewhere.
	}
	if g.Size() == 0 {
		t.Fatal("a valid grid has no points")
	}
	for _, index := range []uint64{0, 1, g.Size() / 2, g.Size() - 1} {
		if index >= g.Size() {
			continue
		}
		found, ok := g.Index(g.At(index))
		if !ok || found > index || g.First(index) != (found == index) {
			t.Errorf("the point at %d is found at %d, %v", index, found, ok)
		}
	}
}
