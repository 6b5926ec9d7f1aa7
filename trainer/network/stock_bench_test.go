package network

import (
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/operation"
)

// stock is the convolutional autoencoder in Gorgonia's own operations, to compare ours with. Gorgonia has no transposed
// convolution; one of stride 2 is an ordinary convolution of the image with zeros between its pixels.
type stock struct {
	t         testing.TB
	graph     *gorgonia.ExprGraph
	batch     int
	x, y      *gorgonia.Node
	loss      *gorgonia.Node
	weights   gorgonia.Nodes
	gradients gorgonia.Nodes
}

// newStock builds the network for a batch of that many images, and differentiates it.
func newStock(t testing.TB, batch, latentDim int) *stock {
	t.Helper()
	operation.Building.Lock()
	defer operation.Building.Unlock()
	s := &stock{t: t, graph: gorgonia.NewGraph(), batch: batch}
	s.x = gorgonia.NewTensor(s.graph, tensor.Float32, 4, gorgonia.WithName("x"),
		gorgonia.WithShape(batch, 1, Side, Side))
	h := s.rectify(s.convolution("encoder.c.0", s.x, 8, 2, 1))
	h = s.rectify(s.convolution("encoder.c.2", h, 16, 2, 1))
	h = s.rectify(s.convolution("encoder.c.4", h, 32, 2, 0))
	h = s.must(gorgonia.Reshape(h, tensor.Shape{batch, 288}))
	h = s.rectify(s.linear("encoder.l.0", h, 64))
	h = s.linear("encoder.l.2", h, latentDim)
	h = s.rectify(s.linear("decoder.l.0", h, 64))
	h = s.rectify(s.linear("decoder.l.2", h, 288))
	h = s.must(gorgonia.Reshape(h, tensor.Shape{batch, 32, 3, 3}))
	h = s.rectify(s.transposed("decoder.c.0", h, 16, 7))
	h = s.rectify(s.transposed("decoder.c.2", h, 8, 14))
	s.y = s.must(gorgonia.Sigmoid(s.transposed("decoder.c.4", h, 1, Side)))
	s.loss = s.must(gorgonia.Mean(s.must(gorgonia.Square(s.must(gorgonia.Sub(s.y, s.x))))))
	gradients, err := gorgonia.Grad(s.loss, s.weights...)
	if err != nil {
		t.Fatal(err)
	}
	s.gradients = gradients
	return s
}

func (s *stock) must(node *gorgonia.Node, err error) *gorgonia.Node {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	return node
}

func (s *stock) rectify(x *gorgonia.Node) *gorgonia.Node { return s.must(gorgonia.Rectify(x)) }

func (s *stock) parameter(name string, shape ...int) *gorgonia.Node {
	node := gorgonia.NewTensor(s.graph, tensor.Float32, len(shape), gorgonia.WithName(name),
		gorgonia.WithShape(shape...), gorgonia.WithInit(gorgonia.GlorotU(1)))
	s.weights = append(s.weights, node)
	return node
}

// convolution has a kernel of 3 x 3.
func (s *stock) convolution(name string, x *gorgonia.Node, filters, stride, padding int) *gorgonia.Node {
	h := s.must(gorgonia.Conv2d(x, s.parameter(name+".weight", filters, x.Shape()[1], 3, 3), tensor.Shape{3, 3},
		[]int{padding, padding}, []int{stride, stride}, []int{1, 1}))
	bias := s.parameter(name+".bias", 1, filters, 1, 1)
	return s.must(gorgonia.BroadcastAdd(h, bias, nil, []byte{0, 2, 3}))
}

// transposed is a transposed convolution of stride 2 with a kernel of 3 x 3 to an image of size x size: of padding 1
// and output padding 1 if that is twice x's size, else of neither. Its weights are those of the convolution by which it
// is expressed: (out, in, rows, columns) with rows and columns backwards.
func (s *stock) transposed(name string, x *gorgonia.Node, filters, size int) *gorgonia.Node {
	channels, side := x.Shape()[1], x.Shape()[2]
	// A product with a constant makes two rows of each: one with zeros between the pixels, and one of zeros. Upsample2D
	// and a mask do the same, but make the whole step take half as long again.
	spread := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(side, 4*side))
	for i := range side {
		spread.Float32s()[i*4*side+2*i] = 1
	}
	constant := gorgonia.NewMatrix(s.graph, tensor.Float32, gorgonia.WithName(name+".spread"),
		gorgonia.WithShape(spread.Shape()...), gorgonia.WithValue(spread))
	rows := s.must(gorgonia.Reshape(x, tensor.Shape{s.batch * channels * side, side}))
	h := s.must(gorgonia.Mul(rows, constant))
	h = s.must(gorgonia.Reshape(h, tensor.Shape{s.batch, channels, 2 * side, 2 * side}))
	if size == 2*side {
		return s.convolution(name, h, filters, 1, 1)
	}
	h = s.convolution(name, h, filters, 1, 2)
	return s.must(gorgonia.Slice(h, nil, nil, gorgonia.S(0, size), gorgonia.S(0, size)))
}

func (s *stock) linear(name string, x *gorgonia.Node, out int) *gorgonia.Node {
	h := s.must(gorgonia.Mul(x, s.parameter(name+".weight", x.Shape()[1], out)))
	return s.must(gorgonia.BroadcastAdd(h, s.parameter(name+".bias", 1, out), nil, []byte{0}))
}

// show lets the network look at images.
func (s *stock) show(pixels []byte) {
	images := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(s.x.Shape()...))
	for i := range images.Float32s() {
		images.Float32s()[i] = float32(pixels[i]) / 255
	}
	if err := gorgonia.Let(s.x, images); err != nil {
		s.t.Fatal(err)
	}
}

// rearranged returns a parameter's values in stock's arrangement.
func rearranged(p Parameter, values []float32) []float32 {
	switch {
	case len(p.Shape) == 2: // A linear layer: (out, in) to (in, out).
		return transposedPlanes(values, p.Shape[0], p.Shape[1], 1)
	case len(p.Shape) == 4 && strings.HasPrefix(p.Name, "decoder"):
		flipped := transposedPlanes(values, p.Shape[0], p.Shape[1], 9)
		for kernel := range slices.Chunk(flipped, 9) {
			slices.Reverse(kernel)
		}
		return flipped
	}
	return slices.Clone(values)
}

// transposedPlanes swaps the first two axes of (a, b, plane).
func transposedPlanes(values []float32, a, b, plane int) []float32 {
	swapped := make([]float32, len(values))
	for i := range a {
		for j := range b {
			copy(swapped[(j*a+i)*plane:][:plane], values[(i*b+j)*plane:][:plane])
		}
	}
	return swapped
}

// What BenchmarkStockGorgonia measures is our network: the same weights give the same loss and gradients.
func TestStockGorgoniaIsTheSameNetwork(t *testing.T) {
	const size, latentDim = 5, 6
	n, err := NewConvAutoencoder(latentDim)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(4)
	images := mnist(t)
	wantLoss, err := n.Train(t.Context(), images, []uint32{0, 1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	s := newStock(t, size, latentDim)
	s.show(images.Pixels)
	for i, p := range n.Parameters {
		values := tensor.New(tensor.WithShape(s.weights[i].Shape()...), tensor.WithBacking(rearranged(p, p.Values)))
		if err := gorgonia.Let(s.weights[i], values); err != nil {
			t.Fatal(err)
		}
	}
	machine := gorgonia.NewTapeMachine(s.graph)
	defer machine.Close()
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	if loss := float64(s.loss.Value().Data().(float32)); math.Abs(loss-wantLoss) > 1e-5*wantLoss {
		t.Errorf("loss is %v, ours %v", loss, wantLoss)
	}
	for i, p := range n.Parameters {
		want, scale := rearranged(p, p.Gradient), 0.0
		for _, g := range want {
			scale = max(scale, math.Abs(float64(g)))
		}
		worst, at := 0.0, 0
		got := s.gradients[i].Value().Data().([]float32)
		for j := range want {
			if d := math.Abs(float64(got[j]-want[j])) / scale; d > worst {
				worst, at = d, j
			}
		}
		if worst > 1e-4 {
			t.Errorf("gradient of %s differs by %.1e of its largest: number %d is %v, ours %v",
				p.Name, worst, at, got[at], want[at])
		}
	}
}

// BenchmarkStockGorgonia is a training step by Gorgonia's own operations, TapeMachine and Adam, batch 256, latent 16,
// beside BenchmarkTrainingStep of package trainer.
func BenchmarkStockGorgonia(b *testing.B) {
	const size = 256
	s := newStock(b, size, 16)
	s.show(mnist(b).Pixels)
	machine := gorgonia.NewTapeMachine(s.graph, gorgonia.BindDualValues(s.weights...))
	defer machine.Close()
	solver := gorgonia.NewAdamSolver(gorgonia.WithLearnRate(1e-3), gorgonia.WithL2Reg(1e-5))
	values := gorgonia.NodesToValueGrads(s.weights)
	b.ReportAllocs()
	for b.Loop() {
		if err := machine.RunAll(); err != nil {
			b.Fatal(err)
		}
		if err := solver.Step(values); err != nil {
			b.Fatal(err)
		}
		machine.Reset()
	}
	b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "images/s")
}
