package kernel

import (
	"fmt"
	"math"
	"unsafe"
)

// Lanes is the number of images in a tile.
const Lanes = 16

// Values allocates n zeros that begin at a cache line. Tiles should: a vector that straddles two lines costs two loads.
func Values(n int) []float32 {
	const line = 64 / 4
	values := make([]float32, n+line-1)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(values)))/4) & (line - 1)
	return values[skip : skip+n : skip+n]
}

// Activation is what a layer does to its sums.
type Activation int

// The activations that Forward can apply.
const (
	None Activation = iota
	ReLU
	Sigmoid
)

// Pass is one of the three computations of a layer.
type Pass int

// The passes that a plan can be for.
const (
	Forward Pass = iota
	BackwardInput
	BackwardWeights
)

// Conv is a convolution, transposed convolution or linear layer, planned for one shape, with the packed weights and the
// gradient sums of one run. Each goroutine has one of its own, by Beside. Their Forward and BackwardInput may be called
// at once, and beside BackwardWeights of one. The other methods must not be called at the same time. Nothing allocates
// but NewConv and Beside.
type Conv struct {
	shape Shape
	// in and out are the numbers of values in the tiles.
	in, out int
	path    *path
	// Those that were not planned are nil.
	forward  *gather
	backward *gather
	weights  *outer
	scratch  scratch
	bias     []float32 // Gradient sums: [output channel][lane].
}

// NewConv plans the given passes of a layer, all three if none is given. An error wraps ErrShape.
func NewConv(s Shape, passes ...Pass) (*Conv, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if len(passes) == 0 {
		passes = []Pass{Forward, BackwardInput, BackwardWeights}
	}
	c := &Conv{shape: s, in: s.InSize(), out: s.OutSize(), path: active.Load()}
	rows, columns := s.axes()
	for _, pass := range passes {
		switch pass {
		case Forward:
			c.forward = newGather(c.path.vector, c.path.together, s.InChannels, s.OutChannels, rows, columns)
			c.forward.subnormals = newSubnormals(c.forward)
		case BackwardInput:
			c.backward = newGather(c.path.vector, c.path.together, s.OutChannels, s.InChannels, rows.adjoint(),
				columns.adjoint())
			c.backward.subnormals = newSubnormals(c.backward)
			c.backward.faint = c.path.balance != nil && c.backward.subnormals == nil && s.looksForFaint() &&
				slowSubnormals()
		case BackwardWeights:
			c.weights, c.bias = newOuter(s, c.path.vector, c.path.together), Values(s.OutChannels*Lanes)
		default:
			panic(fmt.Sprintf("kernel: no pass %d", pass))
		}
	}
	c.scratch = newScratch(c.forward, c.backward)
	return c, nil
}

// Beside returns a plan with the same weights and sums for another goroutine.
func (c *Conv) Beside() *Conv {
	beside := *c
	beside.scratch = newScratch(c.forward, c.backward)
	if c.weights != nil {
		weights := *c.weights
		// It would go from one processor's cache to another's.
		weights.transposed = Values(len(weights.transposed))
		if weights.faint != nil {
			weights.faint = newFaint(len(weights.faint.scaled), len(weights.faint.others))
		}
		beside.weights = &weights
	}
	return &beside
}

// axes are the two axes of the forward pass.
func (s Shape) axes() (rows, columns axis) {
	rows = axis{s.InHeight, s.OutHeight(), s.KernelHeight, s.Stride, s.Padding, s.Transposed}
	columns = axis{s.InWidth, s.OutWidth(), s.KernelWidth, s.Stride, s.Padding, s.Transposed}
	return rows, columns
}

// adjoint is the axis of the backward pass.
func (a axis) adjoint() axis {
	a.in, a.out, a.transposed = a.out, a.in, !a.transposed
	return a
}

// Shape is what the layer was planned for.
func (c *Conv) Shape() Shape { return c.shape }

// SetWeights takes new weights, (out, in, kh, kw) or, if the shape is transposed, (in, out, kh, kw), and one bias per
// output channel; a nil bias is zero. They are copied.
func (c *Conv) SetWeights(weights, bias []float32) {
	check("weights", weights, c.shape.Weights())
	if bias != nil {
		check("bias", bias, c.shape.OutChannels)
	}
	if c.forward != nil {
		c.forward.setWeights(c.path, weights, bias)
	}
	if c.backward != nil {
		c.backward.setWeights(c.path, weights, nil)
	}
}

// Forward computes an output tile: y = activation(weights * x + bias). y must not overlap x.
func (c *Conv) Forward(y, x []float32, activation Activation) {
	planned(c.forward != nil)
	check("y", y, c.out)
	check("x", x, c.in)
	bound := float32(math.Inf(-1))
	if activation == ReLU {
		bound = 0
	}
	c.path.gather(c.forward, &c.scratch, y, x, nil, bound)
	if activation == Sigmoid {
		c.path.sigmoid(y)
	}
}

// BackwardInput computes the gradient of the input tile from that of the sums (the output before the activation). dx
// must not overlap dy.
func (c *Conv) BackwardInput(dx, dy []float32) {
	c.checkBackward(dx, dy)
	c.path.gather(c.backward, &c.scratch, dx, dy, nil, float32(math.Inf(-1)))
}

// BackwardInputOfReLU is BackwardInput for an input x that a ReLU has made, and that ReLU's ReLUBackward after it.
func (c *Conv) BackwardInputOfReLU(dx, dy, x []float32) {
	c.checkBackward(dx, dy)
	check("x", x, c.in)
	c.path.gather(c.backward, &c.scratch, dx, dy, x, float32(math.Inf(-1)))
}

func (c *Conv) checkBackward(dx, dy []float32) {
	planned(c.backward != nil)
	check("dx", dx, c.in)
	check("dy", dy, c.out)
}

// BackwardWeights adds a tile's share of the gradient of weights and bias to the plan's own sums. dy is the gradient
// of the sums (the output before the activation); lanes without an image must be zero in it.
func (c *Conv) BackwardWeights(dy, x []float32) {
	planned(c.weights != nil)
	check("dy", dy, c.out)
	check("x", x, c.in)
	c.weights.add(c.path, c.bias, dy, x)
}

// ZeroGrad forgets what BackwardWeights has added.
func (c *Conv) ZeroGrad() {
	planned(c.weights != nil)
	clear(c.weights.totals)
	clear(c.bias)
}

// Gradient writes the gradients of weights and bias, in the layout of SetWeights, and must be followed by ZeroGrad: it
// destroys the sums.
func (c *Conv) Gradient(dw, db []float32) {
	planned(c.weights != nil)
	check("dw", dw, c.shape.Weights())
	check("db", db, c.shape.OutChannels)
	c.weights.gradient(c.path, dw, c.shape.Transposed)
	c.path.sumLanes(db, c.bias)
}

// planned panics unless the pass that is asked for was planned.
func planned(yes bool) {
	if !yes {
		panic("kernel: the layer was not planned for this pass")
	}
}

// check panics unless a slice has the wanted length: the vector paths have no bounds checks of their own.
func check(name string, slice []float32, want int) {
	if len(slice) != want {
		panic(fmt.Sprintf("kernel: %s has %d values, want %d", name, len(slice), want))
	}
}
