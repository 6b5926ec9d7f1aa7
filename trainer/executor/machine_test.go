package executor

import (
	"errors"
	"hash"
	"slices"
	"strings"
	"testing"

	"github.com/chewxy/hm"
	"go.uber.org/goleak"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
	"trellis/trainer/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forked is a graph in which two layers share an input, so that two gradients meet in a sum of Gorgonia's own.
type forked struct {
	graph      *gorgonia.ExprGraph
	x, share   *gorgonia.Node
	flat, loss *gorgonia.Node
	parameters gorgonia.Nodes
	gradients  gorgonia.Nodes
}

const features = 6

func newForked(t *testing.T) *forked {
	t.Helper()
	operation.Building.Lock()
	defer operation.Building.Unlock()
	f := &forked{graph: gorgonia.NewGraph()}
	input := func(name string, seed uint32, shape ...int) *gorgonia.Node {
		values := make([]float32, tensor.Shape(shape).TotalSize())
		stream.New(seed, stream.Weights, 0).Uniform(values, 0.5)
		return gorgonia.NewTensor(f.graph, tensor.Float32, len(shape), gorgonia.WithName(name),
			gorgonia.WithShape(shape...),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))))
	}
	layer := func(name string, x *gorgonia.Node, seed uint32, activation kernel.Activation) *gorgonia.Node {
		shape := kernel.Linear(features, features)
		p := input(name, seed, operation.ParameterCount(shape))
		f.parameters = append(f.parameters, p)
		return must(t)(operation.Layer(name, x, p, shape, activation))
	}
	f.x = input("x", 1, features, kernel.Lanes)
	f.share = input("share", 2, kernel.Lanes)
	for lane := range kernel.Lanes {
		f.share.Value().Data().([]float32)[lane] = 0.5
	}
	h := layer("trunk", f.x, 3, kernel.ReLU)
	left := layer("left", h, 4, kernel.Sigmoid)
	right := layer("right", h, 5, kernel.None)
	f.flat = must(t)(operation.Reshape(must(t)(gorgonia.Add(left, right)), 2, features/2, 1, kernel.Lanes))
	target := input("target", 6, 2, features/2, 1, kernel.Lanes)
	f.loss = must(t)(operation.SquaredError(f.flat, target, f.share))
	gradients, err := gorgonia.Grad(f.loss, f.parameters...)
	if err != nil {
		t.Fatal(err)
	}
	f.gradients = gradients
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

func values(node *gorgonia.Node) []float32 { return node.Value().(*tensor.Dense).Float32s() }

func TestMachineRunsGorgoniasOwnOperations(t *testing.T) {
	ours, tapes := newForked(t), newForked(t)
	machine, err := New(append(ours.gradients, ours.loss, ours.flat)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	tape := gorgonia.NewTapeMachine(tapes.graph)
	defer tape.Close()
	if err := tape.RunAll(); err != nil {
		t.Fatal(err)
	}
	if got, want := values(ours.loss)[0], tapes.loss.Value().Data().(float32); got != want || got == 0 {
		t.Errorf("loss is %v, by the tape machine %v", got, want)
	}
	if got, want := values(ours.flat), tapes.flat.Value().Data().([]float32); !slices.Equal(got, want) {
		t.Errorf("output begins %v, by the tape machine %v", got[:4], want[:4])
	}
	for i, gradient := range ours.gradients {
		want := tapes.gradients[i].Value().Data().([]float32)
		if got := values(gradient); !slices.Equal(got, want) {
			t.Errorf("gradient of %s begins %v, by the tape machine %v", ours.parameters[i].Name(), got[:4], want[:4])
		}
	}
}

// Over a batch, losses and gradients of parameters are the sums of the tiles', and the next batch starts afresh.
func TestMachineSumsOverTiles(t *testing.T) {
	f := newForked(t)
	machine, err := New(append(f.gradients, f.loss)...)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(seed uint32) { stream.New(seed, stream.Weights, 9).Uniform(values(f.x), 1) }
	var loss, gradient float64
	for seed := range uint32(3) {
		fill(seed)
		if err := machine.RunAll(); err != nil {
			t.Fatal(err)
		}
		loss += float64(values(f.loss)[0])
		gradient += float64(values(f.gradients[0])[0])
	}
	machine.Begin()
	for seed := range uint32(3) {
		fill(seed)
		machine.Tile()
	}
	if err := machine.End(); err != nil {
		t.Fatal(err)
	}
	if got := float64(values(f.loss)[0]); got < loss*(1-1e-6) || got > loss*(1+1e-6) {
		t.Errorf("batch's loss is %v, its tiles' %v", got, loss)
	}
	if got := float64(values(f.gradients[0])[0]) / gradient; got < 1-1e-5 || got > 1+1e-5 {
		t.Errorf("batch's gradient is %v times its tiles'", got)
	}
}

func TestMachineTakesNewWeightsAtABatchsBegin(t *testing.T) {
	f := newForked(t)
	machine, err := New(f.loss)
	if err != nil {
		t.Fatal(err)
	}
	run := func() float32 {
		if err := machine.RunAll(); err != nil {
			t.Fatal(err)
		}
		return values(f.loss)[0]
	}
	first := run()
	values(f.parameters[2])[0]++
	if second := run(); second == first {
		t.Error("the loss does not depend on the weights")
	}
	values(f.parameters[2])[0]--
	if third := run(); third != first {
		t.Errorf("the loss is %v with the first weights, was %v", third, first)
	}
}

func TestMachineRefusesGraphs(t *testing.T) {
	f := newForked(t)
	if _, err := New(); !errors.Is(err, ErrGraph) {
		t.Errorf("without outputs: got error %v, want %v", err, ErrGraph)
	}
	operation.Building.Lock()
	defer operation.Building.Unlock()
	square := must(t)(gorgonia.Square(f.loss))
	if _, err := New(square); !errors.Is(err, ErrGraph) || !strings.Contains(err.Error(), "batch's end") {
		t.Errorf("with an operation on a sum over the batch: got error %v, want %v", err, ErrGraph)
	}
	double := gorgonia.NewVector(f.graph, tensor.Float64, gorgonia.WithName("double"), gorgonia.WithShape(3))
	if _, err := New(double); !errors.Is(err, ErrGraph) {
		t.Errorf("with doubles: got error %v, want %v", err, ErrGraph)
	}
}

var errBroken = errors.New("broken")

// broken is an operation that is not ours and always fails.
type broken struct{ gorgonia.Iop }

func (broken) Do(...gorgonia.Value) (gorgonia.Value, error) { return nil, errBroken }
func (broken) WriteHash(h hash.Hash)                        { h.Write([]byte("broken")) }
func (broken) Type() hm.Type {
	return hm.NewFnType(hm.TypeVariable('a'), hm.TypeVariable('a'))
}

func TestMachineReportsErrorsAtTheEnd(t *testing.T) {
	f := newForked(t)
	operation.Building.Lock()
	node := must(t)(gorgonia.ApplyOp(broken{}, f.x))
	operation.Building.Unlock()
	machine, err := New(node)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := machine.RunAll(); !errors.Is(err, errBroken) {
			t.Errorf("got error %v, want %v", err, errBroken)
		}
	}
}

// Graphs may be built side by side under the lock, and run side by side without it: for the race detector.
func TestMachinesSideBySide(t *testing.T) {
	for _, name := range []string{"a", "b", "c", "d"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForked(t)
			machine, err := New(append(f.gradients, f.loss)...)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := machine.RunAll(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
