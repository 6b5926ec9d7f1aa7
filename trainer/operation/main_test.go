package operation_test

import (
	"math"
	"testing"

	"go.uber.org/goleak"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
	"trellis/trainer/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a graph of a layer, a reshape and the squared error, with its derivatives by the layer's input and
// parameters.
type fixture struct {
	shape      kernel.Shape
	activation kernel.Activation
	// Values of the inputs, and what the graph computes from them.
	x, parameters, target, share []float32
	y, dx, dParameters           []float32
	loss                         float32
}

// newFixture fills the inputs with random numbers, and builds and runs the graph. The tile's last images are missing.
func newFixture(t *testing.T, shape kernel.Shape, activation kernel.Activation, images int) *fixture {
	t.Helper()
	f := &fixture{shape: shape, activation: activation, share: make([]float32, kernel.Lanes)}
	for purpose, values := range []*[]float32{&f.x, &f.parameters, &f.target} {
		size := []int{shape.InSize(), operation.ParameterCount(shape), shape.OutSize()}[purpose]
		*values = make([]float32, size)
		stream.New(1, stream.Purpose(purpose), size).Uniform(*values, 1)
	}
	for lane := range images {
		f.share[lane] = 0.25
	}

	operation.Building.Lock()
	defer operation.Building.Unlock()
	g := gorgonia.NewGraph()
	input := func(name string, values []float32, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))))
	}
	in := []int{shape.InChannels, shape.InHeight, shape.InWidth, kernel.Lanes}
	if shape == kernel.Linear(shape.InChannels, shape.OutChannels) {
		in = []int{shape.InChannels, kernel.Lanes}
	}
	x := input("x", f.x, in...)
	parameters := input("parameters", f.parameters, len(f.parameters))
	y := must(t)(operation.Layer("layer", x, parameters, shape, activation))
	flat := y
	if activation != kernel.Sigmoid || len(in) == 2 {
		// An image that a sigmoid has made is compared as it is, as in autoencoders.
		flat = must(t)(operation.Reshape(y, shape.OutSize()/kernel.Lanes, kernel.Lanes))
	}
	target := input("target", f.target, flat.Shape()...)
	loss := must(t)(operation.SquaredError(flat, target, input("share", f.share, kernel.Lanes)))
	gradients, err := gorgonia.Grad(loss, x, parameters)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := executor.New(loss, y, gradients[0], gradients[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	f.y = y.Value().Data().([]float32)
	f.dx = gradients[0].Value().Data().([]float32)
	f.dParameters = gradients[1].Value().Data().([]float32)
	f.loss = loss.Value().Data().(float32)
	return f
}

func must(t *testing.T) func(*gorgonia.Node, error) *gorgonia.Node {
	return func(node *gorgonia.Node, err error) *gorgonia.Node {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
}

// plainLayer computes a layer by definition, in float64, for one lane.
func plainLayer(s kernel.Shape, activation kernel.Activation, x, parameters []float64, lane int) []float64 {
	weights, bias := parameters[:s.Weights()], parameters[s.Weights():]
	height, width := s.OutHeight(), s.OutWidth()
	y := make([]float64, s.OutChannels*height*width)
	for o := range s.OutChannels {
		for at := range height * width {
			y[o*height*width+at] = bias[o]
		}
	}
	eachTap(s, func(in, out, kr, kc, i, o int) {
		w := ((o*s.InChannels+i)*s.KernelHeight+kr)*s.KernelWidth + kc
		if s.Transposed {
			w = ((i*s.OutChannels+o)*s.KernelHeight+kr)*s.KernelWidth + kc
		}
		y[out] += weights[w] * x[in*kernel.Lanes+lane]
	})
	for i := range y {
		switch activation {
		case kernel.ReLU:
			y[i] = max(y[i], 0)
		case kernel.Sigmoid:
			y[i] = 1 / (1 + math.Exp(-y[i]))
		}
	}
	return y
}

// eachTap visits every product of a weight and an input value: the indices of the input and the output value within a
// lane, and the weight's row, column, input channel and output channel.
func eachTap(s kernel.Shape, visit func(in, out, kr, kc, i, o int)) {
	// A convolution's output and a transposed convolution's input are the grid of which each position meets a whole
	// kernel, in the other grid, but for what falls on padding.
	rows, columns, otherRows, otherColumns := s.OutHeight(), s.OutWidth(), s.InHeight, s.InWidth
	if s.Transposed {
		rows, columns, otherRows, otherColumns = otherRows, otherColumns, rows, columns
	}
	for i := range s.InChannels {
		for o := range s.OutChannels {
			for row := range rows {
				for column := range columns {
					for kr := range s.KernelHeight {
						for kc := range s.KernelWidth {
							r, c := row*s.Stride-s.Padding+kr, column*s.Stride-s.Padding+kc
							if r < 0 || c < 0 || r >= otherRows || c >= otherColumns {
								continue
							}
							if s.Transposed {
								visit((i*rows+row)*columns+column, (o*otherRows+r)*otherColumns+c, kr, kc, i, o)
							} else {
								visit((i*otherRows+r)*otherColumns+c, (o*rows+row)*columns+column, kr, kc, i, o)
							}
						}
					}
				}
			}
		}
	}
}

// plainLoss computes the graph's loss by definition.
func (f *fixture) plainLoss(x, parameters []float64) float64 {
	loss := 0.0
	for lane, share := range f.share {
		if share == 0 {
			continue
		}
		for i, y := range plainLayer(f.shape, f.activation, x, parameters, lane) {
			difference := y - float64(f.target[i*kernel.Lanes+lane])
			loss += float64(share) * difference * difference
		}
	}
	return loss
}

func wide(values []float32) []float64 {
	w := make([]float64, len(values))
	for i, v := range values {
		w[i] = float64(v)
	}
	return w
}
