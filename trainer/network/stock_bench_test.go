package network

import (
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/operation"
)

// Stock Gorgonia on the same network as far as it can express it, to compare BenchmarkTrainingStep of package trainer
// with: it has no transposed convolution, so the decoder ends in a linear layer from 288 to 784 values, which takes
// fewer operations. Batch 256, its own TapeMachine and Adam.
func BenchmarkStockGorgonia(b *testing.B) {
	const size = 256
	operation.Building.Lock()
	g := gorgonia.NewGraph()
	must := func(node *gorgonia.Node, err error) *gorgonia.Node {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return node
	}
	var weights gorgonia.Nodes
	parameter := func(name string, shape ...int) *gorgonia.Node {
		node := gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...),
			gorgonia.WithInit(gorgonia.GlorotU(1)))
		weights = append(weights, node)
		return node
	}
	convolution := func(name string, x *gorgonia.Node, filters, padding int) *gorgonia.Node {
		h := must(gorgonia.Conv2d(x, parameter(name, filters, x.Shape()[1], 3, 3), tensor.Shape{3, 3},
			[]int{padding, padding}, []int{2, 2}, []int{1, 1}))
		bias := parameter(name+".bias", 1, filters, 1, 1)
		return must(gorgonia.Rectify(must(gorgonia.BroadcastAdd(h, bias, nil, []byte{0, 2, 3}))))
	}
	linear := func(name string, x *gorgonia.Node, out int) *gorgonia.Node {
		h := must(gorgonia.Mul(x, parameter(name, x.Shape()[1], out)))
		return must(gorgonia.BroadcastAdd(h, parameter(name+".bias", 1, out), nil, []byte{0}))
	}
	images := tensor.New(tensor.WithShape(size, 1, Side, Side), tensor.WithBacking(make([]float32, size*Side*Side)))
	for i, pixel := range mnist(b)[:size*Side*Side] {
		images.Float32s()[i] = float32(pixel) / 255
	}
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("x"), gorgonia.WithShape(size, 1, Side, Side),
		gorgonia.WithValue(images))
	h := convolution("1", x, 8, 1)
	h = convolution("2", h, 16, 1)
	h = convolution("3", h, 32, 0)
	h = must(gorgonia.Reshape(h, tensor.Shape{size, 288}))
	h = must(gorgonia.Rectify(linear("4", h, 64)))
	h = linear("5", h, 16)
	h = must(gorgonia.Rectify(linear("6", h, 64)))
	h = must(gorgonia.Rectify(linear("7", h, 288)))
	y := must(gorgonia.Sigmoid(linear("8", h, Side*Side)))
	target := must(gorgonia.Reshape(x, tensor.Shape{size, Side * Side}))
	loss := must(gorgonia.Mean(must(gorgonia.Square(must(gorgonia.Sub(y, target))))))
	if _, err := gorgonia.Grad(loss, weights...); err != nil {
		b.Fatal(err)
	}
	operation.Building.Unlock()
	machine := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(weights...))
	defer machine.Close()
	solver := gorgonia.NewAdamSolver(gorgonia.WithLearnRate(1e-3), gorgonia.WithL2Reg(1e-5))
	values := gorgonia.NodesToValueGrads(weights)
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
