//go:build !race

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
		g := &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    drawIntegers(t, "latent_dim"),
			"learning_rate": drawNumbers(t, "learning_rate"),
			"max_epochs":    drawIntegers(t, "max_epochs"),
		}}
		if rapid.Bool().Draw(t, "decays") {
			g.Axes["weight_decay"] = drawNumbers(t, "weight_decay")
		}
		for _, axis := range testModels.Find(spec.Model).GetAxes()[len(commonAxes):] {
			g.Axes[axis.Name] = drawOwn(t, axis)
		}
		spec.Grid = append(spec.Grid, g)
	}
	if rapid.Bool().Draw(t, "several seeds") {
		spec.Seeds = drawIntegers(t, "seeds")
	}
	if rapid.Bool().Draw(t, "several batch sizes") {
		for _, g := range spec.Grid {
			g.Axes["batch_size"] = drawIntegers(t, "batch_size")
		}
	}
	return testModels.WithDefaults(spec)
}

func drawIntegers(t *rapid.T, name string) *trellisv1.Axis {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) *trellisv1.Axis {
			return integers(rapid.SliceOfNDistinct(rapid.Uint32Range(1, 6), 1, 4, rapid.ID).Draw(t, "list")...)
		}),
		rapid.Custom(func(t *rapid.T) *trellisv1.Axis {
			from := rapid.Uint32Range(1, 4).Draw(t, "from")
			count := rapid.Uint32Range(2, 4).Draw(t, "count")
			return &trellisv1.Axis{Linear: newRange(float64(from), float64(from+count-1), count)}
		}),
		rapid.Just(&trellisv1.Axis{Log2: newRange(1, 4, 3)}),
	).Draw(t, name)
}

func drawNumbers(t *rapid.T, name string) *trellisv1.Axis {
	pool := []float64{1e-4, 1e-3, 1e-2, 1e-1, 0.5, 1}
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) *trellisv1.Axis {
			return numbers(rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 4, rapid.ID).Draw(t, "list")...)
		}),
		rapid.Just(&trellisv1.Axis{Log10: newRange(1e-4, 1e-2, 3)}),
		rapid.Just(&trellisv1.Axis{Log2: newRange(1e-3, 1, 4)}),
		rapid.Just(&trellisv1.Axis{Linear: newRange(0.5, 1, 6)}),
	).Draw(t, name)
}

// drawOwn draws an axis that only the model has, with one or two values.
func drawOwn(t *rapid.T, axis *trellisv1.ModelAxis) *trellisv1.Axis {
	pool := []float64{1, 2, 4}
	if axis.GetKind() != trellisv1.Kind_KIND_INTEGER {
		pool = append(pool, 1e-3, 0.5)
	}
	if rapid.Bool().Draw(t, axis.Name+" is a range") {
		return &trellisv1.Axis{Linear: newRange(2, 4, 2)}
	}
	return numbers(rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 2, rapid.ID).Draw(t, axis.Name)...)
}

// naive lists all indices' points, by plain loops: one axis after the other, the last of which varies fastest.
func naive(spec *trellisv1.StudySpec) []*trellisv1.Parameters {
	spec = WithDefaults(spec)
	values := func(a *trellisv1.Axis) []*trellisv1.Value {
		if r, _, logarithmic := rangeOf(a); r != nil {
			return numeric(points(r, logarithmic))
		}
		return a.GetValues()
	}
	var all []*trellisv1.Parameters
	for _, g := range spec.Grid {
		names := []string{LatentDim, LearningRate, WeightDecay}
		for _, name := range slices.Sorted(maps.Keys(g.Axes)) {
			if !slices.Contains([]string{LatentDim, LearningRate, WeightDecay, MaxEpochs, BatchSize}, name) {
				names = append(names, name)
			}
		}
		products := []*trellisv1.Parameters{{}}
		for _, name := range append(names, MaxEpochs, BatchSize, Seed) {
			axis := g.Axes[name]
			if name == Seed {
				axis = spec.Seeds
			}
			var longer []*trellisv1.Parameters
			for _, point := range products {
				for _, value := range values(axis) {
					next := proto.CloneOf(point)
					switch x, _ := value.Numeric(); name {
					case MaxEpochs:
						next.MaxEpochs = uint32(x)
					case Seed:
						next.Seed = uint32(x)
					default:
						if next.Values == nil {
							next.Values = map[string]*trellisv1.Value{}
						}
						next.Values[name] = value
					}
					longer = append(longer, next)
				}
			}
			products = longer
		}
		all = append(all, products...)
	}
	return all
}

// key identifies a point exactly.
func key(p *trellisv1.Parameters) string {
	text := fmt.Sprintf("%d %d", p.MaxEpochs, p.Seed)
	for _, name := range slices.Sorted(maps.Keys(p.Values)) {
		if x, numeric := p.Values[name].Numeric(); numeric {
			text += fmt.Sprintf(" %s %x", name, x)
		} else {
			text += fmt.Sprintf(" %s %T %v", name, p.Values[name].Plain(), p.Values[name].Plain())
		}
	}
	return text
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
	g, err := New(testModels.WithDefaults(newSpec()))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(p *trellisv1.Parameters)
	}{
		{"latent dimension", func(p *trellisv1.Parameters) { p.Values["latent_dim"] = trellisv1.ValueOf(5) }},
		{"learning rate's neighbor", func(p *trellisv1.Parameters) { p.Values["learning_rate"] = trellisv1.ValueOf(0.0010000000000000002) }},
		{"weight decay", func(p *trellisv1.Parameters) { p.Values["weight_decay"] = trellisv1.ValueOf(1.0) }},
		{"maximum epochs", func(p *trellisv1.Parameters) { p.MaxEpochs = 51 }},
		{"batch size", func(p *trellisv1.Parameters) { p.Values["batch_size"] = trellisv1.ValueOf(255) }},
		{"seed", func(p *trellisv1.Parameters) { p.Seed = 0 }},
	} {
		p := g.At(0)
		if test.change(p); p.Numeric("learning_rate") == 1e-4 {
			p.Values["learning_rate"] = trellisv1.NumberValue(1e-3)
		}
		if index, ok := g.Index(p); ok {
			t.Errorf("%s: a point that is not in the grid has index %d", test.name, index)
		}
	}
}

func TestAtPanicsBeyondSize(t *testing.T) {
	g, err := New(testModels.WithDefaults(newSpec()))
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
	g, err := New(testModels.WithDefaults(newSpec()))
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
	spec.Grid[0].Axes["weight_decay"] = numbers(math.Copysign(0, -1), 1)
	g, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := key(g.At(0)); got != key(&trellisv1.Parameters{MaxEpochs: 50, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 4, "learning_rate": 1e-4, "weight_decay": 0.0})}) {
		t.Errorf("the first point is %s", got)
	}
}

func TestWithDefaults(t *testing.T) {
	spec := newSpec()
	spec.Grid = append(spec.Grid, proto.CloneOf(spec.Grid[0]))
	delete(spec.Grid[1].Axes, "weight_decay")
	before := proto.CloneOf(spec)
	got := testModels.WithDefaults(spec)
	if !proto.Equal(spec, before) {
		t.Error("the spec was changed")
	}
	want := before
	want.Seeds = integers(1)
	for _, grid := range want.Grid {
		grid.Axes["batch_size"] = integers(256)
	}
	want.Grid[1].Axes["weight_decay"] = numbers(0)
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
	if again.Seeds.Integers[0] = 7; got.Seeds.GetValues()[0].GetInteger() != 1 {
		t.Error("the copy shares its axes with the spec")
	}
}
