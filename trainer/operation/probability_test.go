package operation_test

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
	"trellis/trainer/stream"
)

// scalarFixture is a graph of two inputs, (features, lane), that comes to a scalar.
type scalarFixture struct {
	first, second, extra, share []float32
	value                       float32
	dFirst, dSecond             []float32
}

const (
	features = 5
	images   = kernel.Lanes - 4
)

// newScalarFixture fills the inputs with random numbers, and builds and runs the graph. In lanes without an image, they
// are not numbers: whatever an earlier layer made of nothing must not matter. Extra is what goes with the images, and
// zeros.
func newScalarFixture(
	t *testing.T, extra []float32, extraShape []int, define func(first, second, extra,
		share *gorgonia.Node) *gorgonia.Node,
) *scalarFixture {
	t.Helper()
	f := &scalarFixture{
		first: make([]float32, features*kernel.Lanes), second: make([]float32, features*kernel.Lanes),
		extra: extra, share: make([]float32, kernel.Lanes),
	}
	stream.New(3, 1, 0).Uniform(f.first, 2)
	stream.New(3, 2, 0).Uniform(f.second, 2)
	for lane := range kernel.Lanes {
		if lane < images {
			f.share[lane] = 0.125
			continue
		}
		for i := range features {
			f.first[i*kernel.Lanes+lane] = float32(math.NaN())
			f.second[i*kernel.Lanes+lane] = float32(math.NaN())
		}
	}
	operation.Building.Lock()
	defer operation.Building.Unlock()
	g := gorgonia.NewGraph()
	input := func(name string, values []float32, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))))
	}
	first, second := input("first", f.first, features, kernel.Lanes), input("second", f.second, features, kernel.Lanes)
	value := define(first, second, input("extra", extra, extraShape...), input("share", f.share, kernel.Lanes))
	gradients, err := gorgonia.Grad(value, first, second)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := executor.New(value, gradients[0], gradients[1])
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // The second batch starts from zero.
		if err := machine.RunAll(); err != nil {
			t.Fatal(err)
		}
	}
	f.value = value.Value().Data().(float32)
	f.dFirst, f.dSecond = gradients[0].Value().Data().([]float32), gradients[1].Value().Data().([]float32)
	return f
}

// compare compares value and gradients with those of a definition, in float64, of one image's contribution.
func (f *scalarFixture) compare(t *testing.T, image func(lane int, first, second []float64) float64) {
	t.Helper()
	total := func(first, second []float64) (sum float64) {
		for lane := range images {
			sum += 0.125 * image(lane, column(first, lane), column(second, lane))
		}
		return sum
	}
	first, second := wide(f.first), wide(f.second)
	if want := total(first, second); math.Abs(float64(f.value)-want) > 1e-6*(1+math.Abs(want)) {
		t.Errorf("value is %v, want %v", f.value, want)
	}
	const step = 1e-5
	for name, by := range map[string]struct {
		values   []float64
		gradient []float32
	}{"first": {first, f.dFirst}, "second": {second, f.dSecond}} {
		for i, value := range by.values {
			if i%kernel.Lanes >= images {
				if by.gradient[i] != 0 {
					t.Errorf("derivative by %s %d, in a lane without an image, is %v", name, i, by.gradient[i])
				}
				continue
			}
			by.values[i] = value + step
			above := total(first, second)
			by.values[i] = value - step
			below := total(first, second)
			by.values[i] = value
			if want := (above - below) / (2 * step); math.Abs(float64(by.gradient[i])-want) > 1e-5*(1+math.Abs(want)) {
				t.Errorf("derivative by %s %d is %v, want %v", name, i, by.gradient[i], want)
			}
		}
	}
}

func column(values []float64, lane int) []float64 {
	column := make([]float64, 0, features)
	for i := lane; i < len(values); i += kernel.Lanes {
		column = append(column, values[i])
	}
	return column
}

// A variational loss: the squared error of a sample, plus half the divergence. Both gradients of the mean and of the
// logarithm of the variance meet.
func TestSampleAndDivergence(t *testing.T) {
	draws := make([]float32, features*kernel.Lanes)
	stream.NewNormals(1, stream.TrainingSample, 1).Tile(draws, make([]uint32, images), new(kernel.NormalState))
	f := newScalarFixture(t, draws, []int{features, kernel.Lanes},
		func(mean, logVariance, draws, share *gorgonia.Node) *gorgonia.Node {
			z := must(t)(operation.Sample(mean, logVariance, draws))
			squares := must(t)(operation.SquaredError(z, draws, share))
			return must(t)(operation.WeightedSum(squares, must(t)(operation.Divergence(mean, logVariance, share)), 0.5))
		})
	f.compare(t, func(lane int, mean, logVariance []float64) (sum float64) {
		for i := range mean {
			draw := float64(draws[i*kernel.Lanes+lane])
			z := mean[i] + math.Exp(logVariance[i]/2)*draw
			sum += (z - draw) * (z - draw)
			sum += 0.5 * (mean[i]*mean[i] + math.Exp(logVariance[i]) - logVariance[i] - 1) / 2
		}
		return sum
	})
}

// A classifier's loss, of two sets of scores so that both inputs count.
func TestLogSoftmaxAndLikelihood(t *testing.T) {
	labels := make([]float32, kernel.Lanes)
	for lane := range images {
		labels[lane] = float32(lane % features)
	}
	f := newScalarFixture(t, labels, []int{kernel.Lanes}, func(first, second, labels,
		share *gorgonia.Node,
	) *gorgonia.Node {
		likelihood := func(x *gorgonia.Node) *gorgonia.Node {
			return must(t)(operation.NegativeLogLikelihood(must(t)(operation.LogSoftmax(x)), labels, share))
		}
		return must(t)(operation.WeightedSum(likelihood(first), likelihood(second), 3))
	})
	f.compare(t, func(lane int, first, second []float64) float64 {
		logLikelihood := func(scores []float64) float64 {
			var sum float64
			for _, score := range scores {
				sum += math.Exp(score)
			}
			return scores[lane%features] - math.Log(sum)
		}
		return -logLikelihood(first) - 3*logLikelihood(second)
	})
}

func TestLogSoftmaxOfLargeScores(t *testing.T) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	scores := make([]float32, 3*kernel.Lanes)
	for i, score := range []float32{1e30, -1e30, 1e30} {
		scores[i*kernel.Lanes] = score
	}
	nan := float32(math.NaN())
	scores[kernel.Lanes+1] = nan
	g := gorgonia.NewGraph()
	x := gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithName("x"), gorgonia.WithShape(3, kernel.Lanes),
		gorgonia.WithValue(tensor.New(tensor.WithShape(3, kernel.Lanes), tensor.WithBacking(scores))))
	y := must(t)(operation.LogSoftmax(x))
	machine, err := executor.New(y)
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	got := y.Value().Data().([]float32)
	half := -float32(math.Ln2)
	if got[0] != half || got[kernel.Lanes] > -1e29 || got[2*kernel.Lanes] != half {
		t.Errorf("of 1e30, -1e30 and 1e30: %v, %v and %v, want %v, -2e30 and %v",
			got[0], got[kernel.Lanes], got[2*kernel.Lanes], half, half)
	}
	for i := range 3 {
		if value := got[i*kernel.Lanes+1]; value == value {
			t.Errorf("where a score is not a number, class %d has %v", i, value)
		}
	}
}

func TestAccuracy(t *testing.T) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	const classes = 3
	scores, labels, share := make([]float32, classes*kernel.Lanes), make([]float32, kernel.Lanes), make([]float32,
		kernel.Lanes)
	for lane := range 7 {
		scores[lane%classes*kernel.Lanes+lane] = 1
		labels[lane] = float32(lane % classes)
		share[lane] = 1.0 / 8
	}
	labels[2], labels[5] = 0, 1 // Two of seven are wrong.
	g := gorgonia.NewGraph()
	input := func(name string, values []float32, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))))
	}
	accuracy := must(t)(operation.Accuracy(input("scores", scores, classes, kernel.Lanes),
		input("labels", labels, kernel.Lanes), input("share", share, kernel.Lanes)))
	machine, err := executor.New(accuracy)
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	if got := accuracy.Value().Data().(float32); got != float32(5.0/7) {
		t.Errorf("got %v, want 5 of 7", got)
	}
}
