package executor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// ErrGraph means that a graph is not one that a Machine can run.
var ErrGraph = errors.New("graph can't be compiled")

// Machine is a compiled part of an expression graph, with its memory. It is not safe for concurrent use, nor may two
// Machines that share nodes run at once.
type Machine struct {
	// end are the ends of sums over a batch, and last what is computed from these.
	begin, tile, end, last []func()
	// err is the first error of an operation that runs through Gorgonia's Do.
	err error
	// arena is shared by all values that live within a tile.
	arena []float32
	// order has the nodes that the Machine was compiled from, and own those of them that are its inputs and outputs.
	order, inputs, own gorgonia.Nodes
	// shared are the calls of which all goroutines of a team use the same weights or sums.
	shared []*shared
}

// shared is a call that has a Beside.
type shared struct {
	node *gorgonia.Node
	// place is the call's in Machine.tile.
	place  int
	beside func(output []float32, inputs ...[]float32) (tile func())
	// sum says that it is a sum over a batch, of which next is the tile that is to be added next: see Team.
	sum  bool
	next atomic.Int64
}

var _ gorgonia.VM = (*Machine)(nil)

// New compiles what the outputs depend on. Inputs and outputs are bound to tensors that stay where they are: those
// that they are bound to already, or else new ones. Values in between stay unbound.
func New(outputs ...*gorgonia.Node) (*Machine, error) { return Between(nil, outputs) }

// Between compiles what the outputs depend on, but for what the inputs depend on: whatever they are in the graph, the
// Machine takes their values as they are bound.
func Between(inputs, outputs gorgonia.Nodes) (*Machine, error) {
	order, err := schedule(inputs, outputs)
	if err != nil {
		return nil, err
	}
	m := &Machine{order: order, inputs: inputs, own: slices.Concat(inputs, outputs)}
	memory, err := m.place(bound)
	if err != nil {
		return nil, err
	}
	sums := map[*gorgonia.Node]bool{}
	for _, node := range m.computed() {
		call, err := m.bindCall(node, memory)
		if err != nil {
			return nil, fmt.Errorf("compile %v: %w", node.Op(), err)
		}
		for _, input := range Inputs(node) {
			if sums[input] && call.Tile != nil {
				return nil, fmt.Errorf("compile %v: %w: %v is known at a batch's end only", node.Op(), ErrGraph,
					input.Op())
			}
		}
		if (call.Begin != nil || call.End != nil) && call.Tile != nil && call.Beside == nil {
			return nil, fmt.Errorf("compile %v: %w: what begins or ends a batch has to be a Team's too", node.Op(),
				ErrGraph)
		}
		if sums[node] = call.End != nil; call.Beside != nil {
			m.shared = append(m.shared, &shared{
				node: node, place: len(m.tile), beside: call.Beside, sum: call.End != nil,
			})
		}
		m.append(call)
	}
	return m, nil
}

// computed are the nodes that a Machine has a call for, in order.
func (m *Machine) computed() gorgonia.Nodes {
	return slices.DeleteFunc(slices.Clone(m.order), func(node *gorgonia.Node) bool {
		return node.Op() == nil || isConstant(node) || isView(node, m.own) || slices.Contains(m.inputs, node)
	})
}

// schedule lists what the outputs depend on, every node after those that it depends on, in the order of their making.
// That order runs a gradient's users right after it, so that it is not kept for long. Nothing is listed on account of
// the inputs.
func schedule(inputs, outputs gorgonia.Nodes) (gorgonia.Nodes, error) {
	if len(outputs) == 0 {
		return nil, fmt.Errorf("%w: it has no outputs", ErrGraph)
	}
	found := map[*gorgonia.Node]bool{}
	var order gorgonia.Nodes
	var visit func(*gorgonia.Node) error
	visit = func(node *gorgonia.Node) error {
		if found[node] {
			return nil
		}
		found[node] = true
		order = append(order, node)
		if slices.Contains(inputs, node) {
			return nil
		}
		for _, input := range Inputs(node) {
			if input.ID() >= node.ID() {
				return fmt.Errorf("%w: %v was made before its input %v", ErrGraph, node, input)
			}
			if err := visit(input); err != nil {
				return err
			}
		}
		return nil
	}
	for _, output := range outputs {
		if err := visit(output); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(order, func(a, b *gorgonia.Node) int { return cmp.Compare(a.ID(), b.ID()) })
	return order, nil
}

// Needs says whether a Machine between inputs and outputs, which can be compiled, reads a node.
func Needs(inputs, outputs gorgonia.Nodes, node *gorgonia.Node) bool {
	order, err := schedule(inputs, outputs)
	return err == nil && slices.Contains(order, node)
}

// Inputs are the nodes that a node is computed from, in the order of its operation's arguments.
func Inputs(node *gorgonia.Node) gorgonia.Nodes { return operation.Inputs(node) }

// place assigns memory to every node. Inputs and outputs have the memory that they are bound to, a view has that of
// what it shows, and any other value occupies its part of the arena from its making to its last use.
func (m *Machine) place(bound func(*gorgonia.Node) ([]float32, error)) (map[*gorgonia.Node][]float32, error) {
	order, own := m.order, m.own
	shown := map[*gorgonia.Node]*gorgonia.Node{}
	lastUse := map[*gorgonia.Node]int{}
	for i, node := range order {
		shown[node] = node
		for _, input := range Inputs(node) {
			if shown[input] == nil {
				continue // What an input of the Machine depends on.
			}
			lastUse[shown[input]] = i
			if isView(node, own) {
				shown[node] = shown[input]
			}
		}
	}
	memory := make(map[*gorgonia.Node][]float32, len(order))
	offsets := map[*gorgonia.Node]int{}
	var plan layout
	for i, node := range order {
		if node.Op() == nil || isConstant(node) || slices.Contains(own, node) {
			values, err := bound(node)
			if err != nil {
				return nil, err
			}
			memory[node] = values
		} else if shown[node] == node {
			offsets[node] = plan.add(node.Shape().TotalSize(), i, lastUse[node])
		}
	}
	m.arena = kernel.Values(plan.size)
	for node, offset := range offsets {
		end := offset + node.Shape().TotalSize()
		memory[node] = m.arena[offset:end:end]
	}
	for _, node := range order {
		if shown[node] != node {
			memory[node] = memory[shown[node]]
		}
	}
	return memory, nil
}

// isView says whether a node needs no memory of its own.
func isView(node *gorgonia.Node, own gorgonia.Nodes) bool {
	return operation.IsView(node.Op()) && !slices.Contains(own, node)
}

// Values returns the memory of a node that a Machine has as an input or output, or nil of any other.
func Values(node *gorgonia.Node) []float32 {
	if node.Value() == nil {
		return nil
	}
	values, err := bound(node)
	if err != nil {
		return nil
	}
	return values
}

// bound returns the memory of the value that a node is bound to, after binding it to a new one if it has none.
func bound(node *gorgonia.Node) ([]float32, error) {
	if node.Dtype() != tensor.Float32 {
		return nil, fmt.Errorf("%w: %v holds %v, want float32", ErrGraph, node, node.Dtype())
	}
	switch value := node.Value().(type) {
	case nil:
		shape := node.Shape()
		values := kernel.Values(shape.TotalSize())
		if err := gorgonia.UnsafeLet(node, tensor.New(tensor.WithShape(shape...),
			tensor.WithBacking(values))); err != nil {
			return nil, fmt.Errorf("bind %v: %w", node, err)
		}
		return values, nil
	case *tensor.Dense:
		return value.Float32s(), nil // Data would copy a scalar.
	case *gorgonia.F32:
		return []float32{float32(*value)}, nil
	default:
		return nil, fmt.Errorf("%w: %v is bound to a %T, want a dense tensor", ErrGraph, node, value)
	}
}

// isConstant says whether a node that has an operation is a constant.
func isConstant(node *gorgonia.Node) bool { return len(Inputs(node)) == 0 }

// bindCall binds a node's operation to its memory.
func (m *Machine) bindCall(node *gorgonia.Node, memory map[*gorgonia.Node][]float32) (operation.Call, error) {
	inputs := Inputs(node)
	op, ok := node.Op().(operation.Compiler)
	if !ok && isSum(node, inputs) {
		return bindSum(memory[node], memory[inputs[0]], memory[inputs[1]]), nil
	}
	if !ok {
		return m.bindForeign(node, inputs, memory), nil
	}
	values := make([][]float32, len(inputs))
	for i, input := range inputs {
		values[i] = memory[input]
	}
	return op.Compile(memory[node], values...)
}

// isSum says whether a node is Gorgonia's sum of two tensors of one shape, which its differentiation makes where two
// gradients meet.
func isSum(node *gorgonia.Node, inputs gorgonia.Nodes) bool {
	return node.Op().String() == "+ false" && len(inputs) == 2 && node.Shape().TotalSize()%kernel.Lanes == 0 &&
		inputs[0].Shape().Eq(node.Shape()) && inputs[1].Shape().Eq(node.Shape())
}

// bindSum runs a sum without Do, which allocates.
func bindSum(sum, a, b []float32) operation.Call {
	return operation.Call{Tile: func() { kernel.AddScaled(sum, a, b, 1) }}
}

// bindForeign makes a call of the Do of an operation that is not ours, on tensors over the Machine's memory.
func (m *Machine) bindForeign(
	node *gorgonia.Node, inputs gorgonia.Nodes, memory map[*gorgonia.Node][]float32,
) operation.Call {
	values := make([]gorgonia.Value, len(inputs))
	for i, input := range inputs {
		values[i] = tensor.New(tensor.WithShape(input.Shape()...), tensor.WithBacking(memory[input]))
	}
	output, op := memory[node], node.Op()
	return operation.Call{Tile: func() {
		if m.err != nil {
			return
		}
		value, err := op.Do(values...)
		if err != nil {
			m.err = fmt.Errorf("run %v: %w", op, err)
			return
		}
		switch result := value.Data().(type) {
		case []float32:
			copy(output, result)
		case float32:
			output[0] = result
		default:
			m.err = fmt.Errorf("run %v: %w: its result is a %T, want []float32", op, ErrGraph, result)
		}
	}}
}

func (m *Machine) append(call operation.Call) {
	if call.Begin != nil {
		m.begin = append(m.begin, call.Begin)
	}
	if call.Tile != nil {
		m.tile = append(m.tile, call.Tile)
	}
	switch {
	case call.End == nil:
	case call.Tile == nil:
		m.last = append(m.last, call.End)
	default:
		m.end = append(m.end, call.End)
	}
}

// Begin starts a batch: the weights may have changed since the last one.
func (m *Machine) Begin() { run(m.begin) }

// Tile runs one tile of the batch on what the inputs hold.
func (m *Machine) Tile() { run(m.tile) }

// End ends the batch: now the outputs that are sums over its tiles hold their values. The error is of an operation that
// Gorgonia itself provides; ours have none.
func (m *Machine) End() error {
	run(m.end)
	return m.finish()
}

// finish computes what depends on the sums, which have ended.
func (m *Machine) finish() error {
	run(m.last)
	err := m.err
	m.err = nil
	return err
}

func run(calls []func()) {
	for _, call := range calls {
		call()
	}
}

// RunAll runs a batch of one tile.
func (m *Machine) RunAll() error {
	m.Begin()
	m.Tile()
	return m.End()
}

// Reset does nothing: a Machine keeps no state from one batch to the next.
func (m *Machine) Reset() {}

// Close does nothing: a Machine holds nothing but memory.
func (m *Machine) Close() error { return nil }
