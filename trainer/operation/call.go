package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Call is an operation on memory that has been assigned to it, to be run many times without allocating.
type Call struct {
	// Begin, if set, runs once before a batch's first tile: the weights may have changed since the last batch.
	Begin func()
	// Tile runs for every tile.
	Tile func()
	// End, if set, runs once after a batch's last tile. An operation that has it is a sum over the batch: only End
	// writes its output.
	End func()
	// Beside, which is set if Tile and Begin or End are, returns what runs for a tile in other memory, for other
	// goroutines, with what Begin has prepared. If End is set it adds to the same sums, so it must not run at the same
	// time as Tile.
	Beside func(output []float32, inputs ...[]float32) (tile func())
}

// prepared is the call of an operation that begin prepares, given how it runs for a tile.
func prepared(
	begin func(), tile func(output []float32, inputs ...[]float32) func(), output []float32, inputs [][]float32,
) Call {
	return Call{Begin: begin, Tile: tile(output, inputs...), Beside: tile}
}

// sum is the call of an operation that is a sum over the batch, given how a tile is added to it.
func sum(begin func(), tile func(inputs ...[]float32) func(), end func(), inputs [][]float32) Call {
	return Call{
		Begin: begin, Tile: tile(inputs...), End: end,
		Beside: func(_ []float32, inputs ...[]float32) func() { return tile(inputs...) },
	}
}

// Compiler is an operation that can be bound to memory: output and inputs have the sizes of its shapes, row-major, and
// stay where they are. Output may not overlap with the inputs.
type Compiler interface {
	gorgonia.Op
	Compile(output []float32, inputs ...[]float32) (Call, error)
}

// do runs an operation once on fresh memory, as a batch of one tile: how Gorgonia's own machines run it.
func do(op Compiler, values ...gorgonia.Value) (gorgonia.Value, error) {
	if len(values) != op.Arity() {
		return nil, fmt.Errorf("%v: got %d inputs, want %d", op, len(values), op.Arity())
	}
	inputs := make([][]float32, len(values))
	sizes := make([]gorgonia.DimSizer, len(values))
	for i, value := range values {
		sizes[i] = value.Shape()
		switch data := value.Data().(type) {
		case []float32:
			inputs[i] = data
		case float32:
			inputs[i] = []float32{data}
		default:
			return nil, fmt.Errorf("%v: input %d holds %T, want []float32", op, i, data)
		}
	}
	shape, err := op.InferShape(sizes...)
	if err != nil {
		return nil, err
	}
	output := make([]float32, shape.TotalSize())
	call, err := op.Compile(output, inputs...)
	if err != nil {
		return nil, err
	}
	if call.Begin != nil {
		call.Begin()
	}
	call.Tile()
	if call.End != nil {
		call.End()
	}
	if shape.IsScalar() {
		return gorgonia.NewF32(output[0]), nil
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(output)), nil
}
