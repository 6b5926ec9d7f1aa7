package adam

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// ErrParameters means that the parameters of a step are not those that the moments belong to.
var ErrParameters = errors.New("parameters do not match the optimiser's moments")

// Solver is Adam with the state of one run. Weight decay is an L2 term in the gradient, as in torch.optim.Adam, not
// AdamW's decay of the weight itself; kernel.Adam has the arithmetic.
type Solver struct {
	step kernel.AdamStep
	// Running means of the gradients and of their squares, one parameter behind the other.
	first, second []float32
	// Each, if not nil, calls do for each of so many parts, which may be done at the same time.
	Each func(parts int, do func(part int))
	// parts are those of a step, and update updates one.
	parts  []part
	update func(part int)
}

// part is some of the weights, with their gradients and moments.
type part struct{ weights, gradients, first, second []float32 }

// partSize is how many weights a part has at most.
const partSize = 8 << 10

var _ gorgonia.Solver = (*Solver)(nil)

// New returns a solver for parameters with that many weights in total.
func New(weights int, learningRate, weightDecay float64) *Solver {
	return NewIn(make([]float32, weights), make([]float32, weights), learningRate, weightDecay)
}

// NewIn returns a solver that keeps its moments in first and second, one for each weight, all zero.
func NewIn(first, second []float32, learningRate, weightDecay float64) *Solver {
	s := &Solver{
		step:   kernel.AdamStep{LearningRate: learningRate, WeightDecay: weightDecay},
		first:  first,
		second: second,
	}
	s.update = func(i int) {
		p := &s.parts[i]
		kernel.Adam(p.weights, p.gradients, p.first, p.second, s.step)
	}
	return s
}

// Step updates the parameters' values by their gradients, both dense float32 tensors. The parameters are the same, in
// the same order, at every step. ErrParameters if they do not have as many weights as New was told; none has been
// updated then.
func (s *Solver) Step(parameters []gorgonia.ValueGrad) error {
	done := 0
	s.parts = s.parts[:0]
	for i, parameter := range parameters {
		gradient, err := parameter.Grad()
		if err != nil {
			return fmt.Errorf("read gradient of parameter %d: %w", i, err)
		}
		w, g, err := slicesOf(parameter.Value(), gradient)
		if err != nil {
			return fmt.Errorf("update parameter %d: %w", i, err)
		}
		end := done + len(w)
		if len(g) != len(w) || end > len(s.first) {
			return fmt.Errorf("update parameter %d: %w", i, ErrParameters)
		}
		for len(w) > 0 {
			n := min(len(w), partSize)
			s.parts = append(s.parts, part{w[:n], g[:n], s.first[done:][:n], s.second[done:][:n]})
			w, g, done = w[n:], g[n:], done+n
		}
	}
	if done != len(s.first) {
		return fmt.Errorf("update %d weights, want %d: %w", done, len(s.first), ErrParameters)
	}
	s.step.Step++
	if s.Each != nil {
		s.Each(len(s.parts), s.update)
		return nil
	}
	for i := range s.parts {
		s.update(i)
	}
	return nil
}

func slicesOf(value, gradient gorgonia.Value) (w, g []float32, err error) {
	dense, ok := value.(*tensor.Dense)
	denseGradient, ok2 := gradient.(*tensor.Dense)
	if !ok || !ok2 || dense.Dtype() != tensor.Float32 || denseGradient.Dtype() != tensor.Float32 {
		return nil, nil, fmt.Errorf("%w: value is a %T and gradient a %T, want dense float32 tensors",
			ErrParameters, value, gradient)
	}
	return dense.Float32s(), denseGradient.Float32s(), nil
}

// State returns the number of steps done and the two moments. They alias the solver's and change with the next step.
func (s *Solver) State() (steps int, first, second []float32) { return s.step.Step, s.first, s.second }

// Restore puts the solver where State was taken. ErrParameters if there are not as many moments as weights.
func (s *Solver) Restore(steps int, first, second []float32) error {
	if len(first) != len(s.first) || len(second) != len(s.second) || steps < 0 {
		return fmt.Errorf("restore %d and %d moments, want %d: %w", len(first), len(second), len(s.first),
			ErrParameters)
	}
	s.step.Step = steps
	copy(s.first, first)
	copy(s.second, second)
	return nil
}
