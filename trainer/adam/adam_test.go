package adam

import (
	"errors"
	"math"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type parameter struct{ value, gradient gorgonia.Value }

func (p parameter) Value() gorgonia.Value         { return p.value }
func (p parameter) Grad() (gorgonia.Value, error) { return p.gradient, nil }

func newParameter(value, gradient []float32) parameter {
	return parameter{
		tensor.New(tensor.WithShape(len(value)), tensor.WithBacking(value)),
		tensor.New(tensor.WithShape(len(gradient)), tensor.WithBacking(gradient)),
	}
}

// Against the formulas of torch.optim.Adam in float64, over parameters of several sizes.
func TestStep(t *testing.T) {
	const rate, decay = 0.01, 0.1
	var parameters []gorgonia.ValueGrad
	var values, gradients [][]float32
	var want, first, second []float64
	for i, size := range []int{1, 3, 16, 37} {
		value, gradient := make([]float32, size), make([]float32, size)
		for j := range value {
			value[j] = float32(i) - 0.3*float32(j)
			want = append(want, float64(value[j]))
		}
		values, gradients = append(values, value), append(gradients, gradient)
		parameters = append(parameters, newParameter(value, gradient))
	}
	first, second = make([]float64, len(want)), make([]float64, len(want))
	s := New(len(want), rate, decay)
	for step := 1; step <= 20; step++ {
		n := 0
		for i := range values {
			for j := range values[i] {
				gradients[i][j] = float32(math.Sin(float64(step*7 + n)))
				g := float64(gradients[i][j]) + decay*want[n]
				first[n] = 0.9*first[n] + 0.1*g
				second[n] = 0.999*second[n] + 0.001*g*g
				m, v := first[n]/(1-math.Pow(0.9, float64(step))), second[n]/(1-math.Pow(0.999, float64(step)))
				want[n] -= rate * m / (math.Sqrt(v) + 1e-8)
				n++
			}
		}
		if err := s.Step(parameters); err != nil {
			t.Fatal(err)
		}
	}
	for i, got := range slices.Concat(values...) {
		if math.Abs(float64(got)-want[i]) > 1e-5*(1+math.Abs(want[i])) {
			t.Errorf("weight %d is %v, want %v", i, got, want[i])
		}
	}
}

func TestRestore(t *testing.T) {
	gradient := []float32{1, -2, 3}
	value := []float32{1, 2, 3}
	parameters := []gorgonia.ValueGrad{newParameter(value, gradient)}
	s := New(3, 0.1, 0)
	if err := s.Step(parameters); err != nil {
		t.Fatal(err)
	}
	steps, first, second := s.State()
	saved := slices.Clone(value)
	first, second = slices.Clone(first), slices.Clone(second)
	if err := s.Step(parameters); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(value)

	restored := New(3, 0.1, 0)
	if err := restored.Restore(steps, first, second); err != nil {
		t.Fatal(err)
	}
	copy(value, saved)
	if err := restored.Step(parameters); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(value, want) {
		t.Errorf("after the restored step the weights are %v, want %v", value, want)
	}
	for _, moments := range [][]float32{nil, make([]float32, 2), make([]float32, 4)} {
		if err := restored.Restore(1, moments, second); !errors.Is(err, ErrParameters) {
			t.Errorf("%d moments: got error %v, want %v", len(moments), err, ErrParameters)
		}
	}
	if err := restored.Restore(-1, first, second); !errors.Is(err, ErrParameters) {
		t.Errorf("-1 steps: got error %v, want %v", err, ErrParameters)
	}
}

func TestStepRefusesOtherParameters(t *testing.T) {
	double := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float64{1, 2}))
	for name, parameters := range map[string][]gorgonia.ValueGrad{
		"too few weights":  {newParameter([]float32{1}, []float32{1})},
		"too many weights": {newParameter(make([]float32, 3), make([]float32, 3))},
		"too many parameters": {
			newParameter(make([]float32, 2), make([]float32, 2)),
			newParameter([]float32{1}, []float32{1}),
		},
		"short gradient":       {newParameter(make([]float32, 2), make([]float32, 1))},
		"doubles":              {parameter{double, double}},
		"no gradient":          {parameter{newParameter(make([]float32, 2), nil).value, nil}},
		"nothing":              {},
		"gradient of a scalar": {parameter{newParameter(make([]float32, 2), nil).value, gorgonia.NewF32(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := New(2, 0.1, 0).Step(parameters); !errors.Is(err, ErrParameters) {
				t.Errorf("got error %v, want %v", err, ErrParameters)
			}
		})
	}
}

func TestStepDoesNotAllocate(t *testing.T) {
	parameters := []gorgonia.ValueGrad{newParameter(make([]float32, 40), make([]float32, 40))}
	s := New(40, 0.1, 0)
	if allocations := testing.AllocsPerRun(10, func() {
		if err := s.Step(parameters); err != nil {
			t.Fatal(err)
		}
	}); allocations != 0 {
		t.Errorf("a step takes %v allocations, want none", allocations)
	}
}
