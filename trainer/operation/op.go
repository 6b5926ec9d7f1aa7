package operation

import (
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"sync"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// ErrShape means that an operation's inputs do not have the shapes that it takes.
var ErrShape = errors.New("shapes do not fit")

// Building is held by whoever builds or differentiates a graph: Gorgonia and its type checker share pools and counters
// between graphs. Running graphs needs no lock.
var Building sync.Mutex

// op is an operation as a value: what sets one apart from another.
type op struct {
	// name tells the operation apart from all others in its graph: Gorgonia takes two nodes for one and the same if
	// their operations' names, their shapes and a 32-bit hash of their inputs agree.
	name string
	// inputs and output are the only shapes that the operation takes and gives. A scalar has an empty shape.
	inputs []tensor.Shape
	output tensor.Shape
	// compile is as in Compiler.
	compile func(output []float32, inputs ...[]float32) (Call, error)
	// differentiable says by which inputs the operation can be differentiated, and gradient makes the nodes of those
	// derivatives (nil for the other inputs), given the node of the derivative by the output. Neither is set if the
	// operation is part of a gradient itself.
	differentiable []bool
	gradient       func(inputs gorgonia.Nodes, output, grad *gorgonia.Node) (gorgonia.Nodes, error)
	// view means that the output is the input under another shape.
	view bool
	// forward is the layer that the operation computes, nil if it is none.
	forward *layer
	// throughReLU means that the operation computes the derivative by what went into the ReLU that made its last input,
	// rather than by what came out.
	throughReLU bool
	// bySigmoid makes, of the derivative of a loss by its first input, the derivative by what went into the sigmoid
	// that made that, from the same inputs. Nil: there is none in one pass.
	bySigmoid func() *op
	// logSoftmax means that the operation is LogSoftmax.
	logSoftmax bool
}

var (
	_ gorgonia.SDOp = (*op)(nil)
	_ Compiler      = (*op)(nil)
)

// IsView says whether an operation only gives its input another shape, so that both may share memory.
func IsView(o gorgonia.Op) bool {
	ours, ok := o.(*op)
	return ok && ours.view
}

// Inputs are what a node's operation is applied to, in order.
func Inputs(node *gorgonia.Node) gorgonia.Nodes {
	var inputs gorgonia.Nodes
	if from := node.Graph().From(node.ID()); from != nil {
		for from.Next() {
			inputs = append(inputs, from.Node().(*gorgonia.Node))
		}
	}
	return inputs
}

// shown is the node whose values a node shows, maybe under another shape.
func shown(node *gorgonia.Node) *gorgonia.Node {
	for IsView(node.Op()) {
		from := node.Graph().From(node.ID())
		from.Next()
		node = from.Node().(*gorgonia.Node)
	}
	return node
}

// LayerOf returns the shape and the activation of the layer that an operation computes.
func LayerOf(o gorgonia.Op) (shape kernel.Shape, activation kernel.Activation, ok bool) {
	ours, ok := o.(*op)
	if !ok || ours.forward == nil {
		return kernel.Shape{}, kernel.None, false
	}
	return ours.forward.shape, ours.forward.activation, true
}

// IsLogSoftmax says whether an operation is LogSoftmax.
func IsLogSoftmax(o gorgonia.Op) bool {
	ours, ok := o.(*op)
	return ok && ours.logSoftmax
}

func (o *op) Arity() int { return len(o.inputs) }

func (o *op) Type() hm.Type {
	types := make([]hm.Type, 0, len(o.inputs)+1)
	for _, shape := range append(o.inputs[:len(o.inputs):len(o.inputs)], o.output) {
		if shape.IsScalar() {
			types = append(types, tensor.Float32)
		} else {
			types = append(types, gorgonia.TensorType{Dims: shape.Dims(), Of: tensor.Float32})
		}
	}
	return hm.NewFnType(types...)
}

func (o *op) InferShape(inputs ...gorgonia.DimSizer) (tensor.Shape, error) {
	if len(inputs) != len(o.inputs) {
		return nil, fmt.Errorf("%s: %w: got %d inputs, want %d", o.name, ErrShape, len(inputs), len(o.inputs))
	}
	for i, input := range inputs {
		if shape, ok := input.(tensor.Shape); !ok || !shape.Eq(o.inputs[i]) {
			return nil, fmt.Errorf("%s: %w: input %d is %v, want %v", o.name, ErrShape, i, input, o.inputs[i])
		}
	}
	return o.output.Clone(), nil
}

func (o *op) Compile(output []float32, inputs ...[]float32) (Call, error) {
	if len(output) != o.output.TotalSize() || len(inputs) != len(o.inputs) {
		return Call{}, fmt.Errorf("%s: %w: got %d inputs and room for %d values, want %d and %d",
			o.name, ErrShape, len(inputs), len(output), len(o.inputs), o.output.TotalSize())
	}
	for i, input := range inputs {
		if len(input) != o.inputs[i].TotalSize() {
			return Call{}, fmt.Errorf("%s: %w: input %d has %d values, want %d",
				o.name, ErrShape, i, len(input), o.inputs[i].TotalSize())
		}
	}
	return o.compile(output, inputs...)
}

func (o *op) Do(values ...gorgonia.Value) (gorgonia.Value, error) { return do(o, values...) }

func (o *op) DiffWRT(inputs int) []bool {
	if o.differentiable == nil {
		return make([]bool, inputs)
	}
	return o.differentiable
}

func (o *op) SymDiff(inputs gorgonia.Nodes, output, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	if o.gradient == nil {
		return nil, fmt.Errorf("%s can't be differentiated", o.name)
	}
	return o.gradient(inputs, output, grad)
}

func (o *op) ReturnsPtr() bool      { return false }
func (o *op) CallsExtern() bool     { return false }
func (o *op) OverwritesInput() int  { return -1 }
func (o *op) String() string        { return o.name }
func (o *op) WriteHash(h hash.Hash) { fmt.Fprint(h, o.name) }

func (o *op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}
