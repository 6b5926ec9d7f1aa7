package grid

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// drawSpec draws a valid spec. Its axes draw from few values, so that its grids overlap.
func drawSpec(t *rapid.T) *trellisv1.StudySpec {
	spec := newSpec()
	spec.Grid = nil
	spec.Model = rapid.SampledFrom([]string{"conv-autoencoder", "denoising-autoencoder", "several"}).Draw(t, "model")
	for range rapid.IntRange(1, 4).Draw(t, "grids") {
		g := &trellisv1.Grid{
			LatentDim:    drawIntegers(t, "latent_dim"),
			LearningRate: drawNumbers(t, "learning_rate"),
			MaxEpochs:    drawIntegers(t, "max_epochs"),
		}
		if rapid.Bool().Draw(t, "decays") {
			g.WeightDecay = drawNumbers(t, "weight_decay")
		}
		for _, axis := range testModels.Find(spec.Model).GetAxes() {
			if g.Axes == nil {
				g.Axes = map[string]*trellisv1.NumberAxis{}
			}
			g.Axes[axis.Name] = drawOwn(t, axis)
		}
		spec.Grid = append(spec.Grid, g)
	}
	if rapid.Bool().Draw(t, "several seeds") {
		spec.Seeds = drawIntegers(t, "seeds")
	}
	if rapid.Bool().Draw(t, "several batch sizes") {
		spec.BatchSize = drawIntegers(t, "batch_size")
	}
	return spec
}

func drawIntegers(t *rapid.T, name string) *trellisv1.IntegerAxis {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) *trellisv1.IntegerAxis {
			return integers(rapid.SliceOfNDistinct(rapid.Uint32Range(1, 6), 1, 4, rapid.ID).Draw(t, "list")...)
		}),
		rapid.Custom(func(t *rapid.T) *trellisv1.IntegerAxis {
			from := rapid.Uint32Range(1, 4).Draw(t, "from")
			count := rapid.Uint32Range(2, 4).Draw(t, "count")
			return &trellisv1.IntegerAxis{Linear: newRange(float64(from), float64(from+count-1), count)}
		}),
		rapid.Just(&trellisv1.IntegerAxis{Log2: newRange(1, 4, 3)}),
	).Draw(t, name)
}

func drawNumbers(t *rapid.T, name string) *trellisv1.NumberAxis {
	pool := []float64{1e-4, 1e-3, 1e-2, 1e-1, 0.5, 1}
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) *trellisv1.NumberAxis {
			return numbers(rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 4, rapid.ID).Draw(t, "list")...)
		}),
		rapid.Just(&trellisv1.NumberAxis{Log10: newRange(1e-4, 1e-2, 3)}),
		rapid.Just(&trellisv1.NumberAxis{Log2: newRange(1e-3, 1, 4)}),
		rapid.Just(&trellisv1.NumberAxis{Linear: newRange(0.5, 1, 6)}),
	).Draw(t, name)
}

// drawOwn draws an axis that only the model has, with one or two values.
func drawOwn(t *rapid.T, axis *trellisv1.ModelAxis) *trellisv1.NumberAxis {
	pool := []float64{1, 2, 4}
	if !axis.Integer {
		pool = append(pool, 1e-3, 0.5)
	}
	if rapid.Bool().Draw(t, axis.Name+" is a range") {
		return &trellisv1.NumberAxis{Linear: newRange(2, 4, 2)}
	}
	return numbers(rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 2, rapid.ID).Draw(t, axis.Name)...)
}

// ownPoints lists the points of a grid's own axes, the last of which varies fastest.
func ownPoints(axes map[string]*trellisv1.NumberAxis, real func(*trellisv1.NumberAxis) []float64) []map[string]float64 {
	points := []map[string]float64{nil}
	for _, name := range slices.Sorted(maps.Keys(axes)) {
		var longer []map[string]float64
		for _, point := range points {
			for _, value := range real(axes[name]) {
				next := map[string]float64{name: value}
				maps.Copy(next, point)
				longer = append(longer, next)
			}
		}
		points = longer
	}
	return points
}

// naive lists all indices' points, by loops over the axes as the documentation has them.
func naive(spec *trellisv1.StudySpec) []*trellisv1.Parameters {
	spec = WithDefaults(spec)
	whole := func(a *trellisv1.IntegerAxis) (values []uint32) {
		if r, _, logarithmic := rangeOf(a); r != nil {
			for _, x := range points(r, logarithmic) {
				values = append(values, uint32(x))
			}
		}
		return append(values, a.GetValues()...)
	}
	real := func(a *trellisv1.NumberAxis) []float64 {
		if r, _, logarithmic := rangeOf(a); r != nil {
			return points(r, logarithmic)
		}
		return a.GetValues()
	}
	var all []*trellisv1.Parameters
	for _, g := range spec.Grid {
		for _, latentDim := range whole(g.LatentDim) {
			for _, learningRate := range real(g.LearningRate) {
				for _, weightDecay := range real(g.WeightDecay) {
					for _, own := range ownPoints(g.Axes, real) {
						for _, maxEpochs := range whole(g.MaxEpochs) {
							for _, batchSize := range whole(spec.BatchSize) {
								for _, seed := range whole(spec.Seeds) {
									all = append(all, &trellisv1.Parameters{
										LatentDim: latentDim, LearningRate: learningRate, WeightDecay: weightDecay,
										MaxEpochs: maxEpochs, BatchSize: batchSize, Seed: seed, Values: own,
									})
								}
							}
						}
					}
				}
			}
		}
	}
	return all
}

// key identifies a point exactly.
func key(p *trellisv1.Parameters) string {
	return fmt.Sprintf("%d %x %x %d %d %d %x", // Maps are printed in the order of their keys.
		p.LatentDim, p.LearningRate, p.WeightDecay, p.MaxEpochs, p.BatchSize, p.Seed, p.Values)
}

// TestGridAgainstNaive: every index has the point that plain loops give it; the distinct ones come once each, with
// their lowest index; and Index is the inverse of At on them.
func TestGridAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		if err := testModels.Validate(spec); err != nil {
			t.Fatal(err)
		}
		g, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		all := naive(spec)
		if g.Size() != uint64(len(all)) {
			t.Fatalf("size %d, want %d", g.Size(), len(all))
		}
		first := map[string]uint64{}
		var indices []uint64
		for i, want := range all {
			index := uint64(i)
			if got := g.At(index); !proto.Equal(got, want) {
				t.Fatalf("point %d is %v, want %v", index, got, want)
			}
			if _, again := first[key(want)]; !again {
				first[key(want)] = index
				indices = append(indices, index)
			}
			if got, ok := g.Index(want); !ok || got != first[key(want)] {
				t.Fatalf("%v has index %d, %t; want %d", want, got, ok, first[key(want)])
			}
			if got, want := g.First(index), first[key(want)] == index; got != want {
				t.Fatalf("index %d is the first of its point: %t, want %t", index, got, want)
			}
		}
		var got []uint64
		for index, point := range g.All() {
			if !proto.Equal(point, all[index]) {
				t.Fatalf("point %d is %v, want %v", index, point, all[index])
			}
			got = append(got, index)
		}
		if !slices.Equal(got, indices) {
			t.Fatalf("the distinct points are %v, want %v", got, indices)
		}
	})
}

func TestIndexOfStrangers(t *testing.T) {
	g, err := New(newSpec())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(p *trellisv1.Parameters)
	}{
		{"latent dimension", func(p *trellisv1.Parameters) { p.LatentDim = 5 }},
		{"learning rate's neighbor", func(p *trellisv1.Parameters) { p.LearningRate = 0.0010000000000000002 }},
		{"weight decay", func(p *trellisv1.Parameters) { p.WeightDecay = 1 }},
		{"maximum epochs", func(p *trellisv1.Parameters) { p.MaxEpochs = 51 }},
		{"batch size", func(p *trellisv1.Parameters) { p.BatchSize = 255 }},
		{"seed", func(p *trellisv1.Parameters) { p.Seed = 0 }},
	} {
		p := g.At(0)
		if test.change(p); p.LearningRate == 1e-4 {
			p.LearningRate = 1e-3
		}
		if index, ok := g.Index(p); ok {
			t.Errorf("%s: a point that is not in the grid has index %d", test.name, index)
		}
	}
}

func TestAtPanicsBeyondSize(t *testing.T) {
	g, err := New(newSpec())
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{g.Size(), 1 << 63} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("index %d of %d gave a point", index, g.Size())
				}
			}()
			g.At(index)
		}()
	}
}

func TestAllStops(t *testing.T) {
	g, err := New(newSpec())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range g.All() {
		if n++; n == 5 {
			break
		}
	}
	if n != 5 {
		t.Errorf("saw %d points", n)
	}
}

// TestNewIgnoresMinusZero: -0 is 0, down to the bits that identify a run.
func TestNewIgnoresMinusZero(t *testing.T) {
	spec := newSpec()
	spec.Grid[0].WeightDecay = numbers(math.Copysign(0, -1), 1)
	g, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := key(g.At(0)); got != key(&trellisv1.Parameters{
		LatentDim: 4, LearningRate: 1e-4, MaxEpochs: 50, BatchSize: 256, Seed: 1,
	}) {
		t.Errorf("the first point is %s", got)
	}
}

func TestWithDefaults(t *testing.T) {
	spec := newSpec()
	spec.Grid = append(spec.Grid, proto.CloneOf(spec.Grid[0]))
	spec.Grid[1].WeightDecay = nil
	before := proto.CloneOf(spec)
	got := WithDefaults(spec)
	if !proto.Equal(spec, before) {
		t.Error("the spec was changed")
	}
	want := before
	want.Seeds, want.BatchSize = integers(1), integers(256)
	want.Grid[1].WeightDecay = numbers(0)
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if again := WithDefaults(got); !proto.Equal(again, got) {
		t.Errorf("a second time gives %v", again)
	}
	spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{}}}
	if asha := WithDefaults(spec).Pruning.GetAsha(); asha.MinEpochs != pruning.DefaultASHAMinEpochs ||
		asha.ReductionFactor != pruning.DefaultASHAReductionFactor || spec.Pruning.GetAsha().MinEpochs != 0 {
		t.Errorf("ASHA by default: %v", asha)
	}
	spec.Pruning.Method = &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{Interval: 3}}
	wantMedian := &trellisv1.MedianStopping{MinEpochs: 10, Interval: 3, MinRuns: 5}
	if median := WithDefaults(spec).Pruning.GetMedian(); !proto.Equal(median, wantMedian) {
		t.Errorf("median stopping by default: %v, want %v", median, wantMedian)
	}
	again := WithDefaults(got)
	if again.Seeds.Values[0] = 7; got.Seeds.Values[0] != 1 {
		t.Error("the copy shares its axes with the spec")
	}
}
