package network

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// Network is a network with its weights and the memory to run it. It is not safe for concurrent use.
type Network struct {
	// Parameters in the order of the layers.
	Parameters []Parameter
	// Weights and Gradients hold all parameters' values and gradients, one behind the other.
	Weights, Gradients []float32
	// Frozen is how many weights, the first ones, are not trained. Their gradients stay zero.
	Frozen int
	// Labels is how many different labels images may have: 0 and the numbers below. 0 if the network needs none.
	Labels int
	// Shift is by how many pixels training images are to be moved at most; 0 if they are not.
	Shift int
	// Cores, if not nil, lends cores to a batch, which gives the same bits on any number of them.
	Cores Cores
	// Metrics names what Train and Evaluate compute beside the loss.
	Metrics []string

	nodes *Builder
	// values are the trained layers' parameters as a gorgonia.Solver takes them.
	values []gorgonia.ValueGrad
	// training computes the loss, the metrics and all gradients, evaluation the score and the metrics alone: of what
	// frozen makes of the images, if there are frozen layers. It is nil if there are none.
	frozen, training, evaluation *executor.Team
	// codesSuffice says that nothing but frozen needs the images.
	codesSuffice bool
	// tiles are what the teams' members run on, and batch what they are run for.
	tiles []*tile
	batch batch
	// members is how many goroutines the last batch had, and loan the cores of those but the first.
	members int
	loan    loan
	// The results.
	loss, score  []float32
	metrics      [][]float32
	metricValues []float64
	// pixels is the number of values in an image, and shared how many of an image's values have one share.
	pixels, shared int
	// forward and backward are the floating point operations that an image's passes take, and encoding those of the
	// frozen layers.
	forward, backward, encoding int

	encoder, logVariance, decoder, classifier part
}

// Plan is what is known of a network before it is built.
type Plan struct {
	// Parameters without values and gradients, in the order of the layers.
	Parameters []Parameter
	// Labels is as Network's.
	Labels int
	// Train and Evaluate are the operations of an image with all layers, and TrainSaved and EvaluateSaved those of them
	// that are saved if codes stand for images: what FLOPs returns has none of these.
	Train, Evaluate, TrainSaved, EvaluateSaved int
	// Values is how many values an image's passes have: the image, and what each layer makes of it.
	Values int
	// Scaled is how many values of a tile a goroutine may keep twice.
	Scaled int
	// Codes is how many values the frozen layers make of an image, if these may stand for images: 0 if they don't.
	Codes int
}

// Layout plans the network that layers make.
func Layout(layers func(*Builder)) (Plan, error) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	b := &Builder{graph: gorgonia.NewGraph()}
	if layers(b); b.err != nil {
		return Plan{}, b.err
	}
	plan := Plan{Labels: b.labelCount, Values: b.input.Shape().TotalSize() / kernel.Lanes}
	for _, layer := range b.layers {
		plan.Parameters = append(plan.Parameters, layer.tensors()...)
		plan.Values += layer.shape.OutSize() / kernel.Lanes
		plan.Scaled += layer.shape.Scaled()
	}
	forward, backward, encoding := b.flops()
	plan.Train, plan.Evaluate = forward+backward, forward
	if b.codes != nil && b.clean == nil { // Codes stand for images.
		plan.Codes = b.codes.Shape().TotalSize() / kernel.Lanes
		plan.TrainSaved, plan.EvaluateSaved = saved(encoding, b.shift)
	}
	return plan, nil
}

// saved are the operations of an image that codes save: those of the frozen layers, which take so many. Training images
// that are shifted anew in each epoch have no codes that stay.
func saved(encoding, shift int) (train, evaluate int) {
	if shift > 0 {
		return 0, encoding
	}
	return encoding, encoding
}

// Build makes, differentiates and compiles the network that layers make.
func Build(layers func(*Builder)) (*Network, error) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	b := &Builder{graph: gorgonia.NewGraph()}
	layers(b)
	switch {
	case b.err != nil:
		return nil, b.err
	case b.loss == nil || b.input == nil:
		return nil, fmt.Errorf("%w: it needs images and a loss", ErrNetwork)
	}
	n := &Network{
		nodes: b, pixels: b.input.Shape().TotalSize() / kernel.Lanes, shared: b.shared,
		Labels: b.labelCount, Shift: b.shift,
	}
	var nodes gorgonia.Nodes
	total := 0
	for _, layer := range b.layers {
		count := operation.ParameterCount(layer.shape)
		total += count
		if layer.frozen {
			n.Frozen += count
			continue
		}
		nodes = append(nodes, layer.node)
	}
	n.forward, n.backward, n.encoding = b.flops()
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: no layer is trained", ErrNetwork)
	}
	gradients, err := gorgonia.Grad(b.loss, nodes...)
	if err != nil {
		return nil, fmt.Errorf("differentiate the loss: %w", err)
	}
	n.Weights, n.Gradients = kernel.Values(total), kernel.Values(total)
	n.values = gorgonia.NodesToValueGrads(nodes)
	if err := n.bind(gradients); err != nil {
		return nil, fmt.Errorf("bind the graph to memory: %w", err)
	}
	var metrics gorgonia.Nodes
	for _, metric := range b.metrics {
		metrics = append(metrics, metric.node)
	}
	var from gorgonia.Nodes
	if b.codes != nil {
		from = gorgonia.Nodes{b.codes}
		if n.frozen, err = newTeam(nil, from); err != nil {
			return nil, fmt.Errorf("compile frozen layers: %w", err)
		}
	}
	trained := append(append(gradients, b.loss), metrics...)
	if n.training, err = newTeam(from, trained); err != nil {
		return nil, fmt.Errorf("compile training: %w", err)
	}
	evaluated := append(gorgonia.Nodes{b.score}, metrics...)
	if n.evaluation, err = newTeam(from, evaluated); err != nil {
		return nil, fmt.Errorf("compile evaluation: %w", err)
	}
	n.codesSuffice = b.codes != nil && b.clean == nil && !executor.Needs(from, append(trained, evaluated...), b.input)
	return n, nil
}

// flops are the floating point operations that an image's passes take, and encoding those of the frozen layers among
// them.
func (b *Builder) flops() (forward, backward, encoding int) {
	for _, layer := range b.layers {
		flops := layer.shape.FLOPs()
		forward += flops
		switch {
		case layer.frozen:
			encoding += flops
		case backward == 0:
			backward = flops // Nobody needs the gradient of what the first trained layer is given.
		default:
			backward += 2 * flops
		}
	}
	return forward, backward, encoding
}

func newTeam(inputs, outputs gorgonia.Nodes) (*executor.Team, error) {
	machine, err := executor.Between(inputs, outputs)
	if err != nil {
		return nil, err
	}
	return executor.NewTeam(machine), nil
}

// bind gives the graph's inputs and outputs memory, gradients being those of the trained layers.
func (n *Network) bind(gradients gorgonia.Nodes) error {
	b := n.nodes
	var err error
	bind := func(node *gorgonia.Node, values []float32) {
		if err == nil {
			err = gorgonia.UnsafeLet(node, tensor.New(tensor.WithShape(node.Shape()...), tensor.WithBacking(values)))
		}
	}
	// own binds a node to memory of its own, which a node that was bound before has.
	own := func(node *gorgonia.Node) []float32 {
		if node == nil {
			return nil
		}
		if values := executor.Values(node); values != nil {
			return values
		}
		values := kernel.Values(node.Shape().TotalSize())
		bind(node, values)
		return values
	}
	n.loss, n.score = own(b.loss), own(b.score)
	n.tiles = []*tile{n.newTile(own)}
	for _, metric := range b.metrics {
		n.Metrics = append(n.Metrics, metric.name)
		n.metrics = append(n.metrics, own(metric.node))
	}
	n.metricValues = make([]float64, len(n.metrics))
	offset, trained := 0, 0
	for _, layer := range b.layers {
		end := offset + operation.ParameterCount(layer.shape)
		values, gradient := n.Weights[offset:end:end], n.Gradients[offset:end:end]
		bind(layer.node, values)
		if !layer.frozen {
			bind(gradients[trained], gradient)
			trained++
		}
		n.Parameters = append(n.Parameters, layer.parameters(values, gradient)...)
		offset = end
	}
	return err
}

// FLOPs is what Train and Evaluate cost per image: the layers' multiply-adds, each counted as two. As is usual, those
// on padding are counted although they are skipped. Frozen layers are not counted if codes stand for images.
func (n *Network) FLOPs() (train, evaluate int) {
	trainSaved, evaluateSaved := n.Saved()
	return n.forward + n.backward - trainSaved, n.forward - evaluateSaved
}

// Saved is what codes save of that: nothing if they don't stand for images.
func (n *Network) Saved() (train, evaluate int) {
	if n.CodeSize() == 0 {
		return 0, 0
	}
	return saved(n.encoding, n.Shift)
}

// Step lets a solver update the weights that are trained by the gradients.
func (n *Network) Step(solver gorgonia.Solver) error { return solver.Step(n.values) }
