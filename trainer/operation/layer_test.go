package operation_test

import (
	"errors"
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// odd shapes: none of their sizes divides a vector, and strides leave rows over.
var layers = map[string]kernel.Shape{
	"convolution": {
		InChannels: 3, InHeight: 7, InWidth: 6, OutChannels: 5, KernelHeight: 3, KernelWidth: 3,
		Stride: 2, Padding: 1,
	},
	"convolution with a rectangular kernel": {
		InChannels: 2, InHeight: 5, InWidth: 8, OutChannels: 3, KernelHeight: 2,
		KernelWidth: 4, Stride: 3,
	},
	"transposed convolution": {
		InChannels: 3, InHeight: 3, InWidth: 2, OutChannels: 5, KernelHeight: 3, KernelWidth: 3,
		Stride: 2, Padding: 1, OutputPaddingHeight: 1, OutputPaddingWidth: 1, Transposed: true,
	},
	"transposed convolution to one channel": {
		InChannels: 4, InHeight: 3, InWidth: 3, OutChannels: 1, KernelHeight: 4,
		KernelWidth: 4, Stride: 2, Padding: 1, Transposed: true,
	},
	"linear": kernel.Linear(19, 7),
}

var activations = map[string]kernel.Activation{"none": kernel.None, "ReLU": kernel.ReLU, "sigmoid": kernel.Sigmoid}

func TestLayer(t *testing.T) {
	for name, shape := range layers {
		for activationName, activation := range activations {
			t.Run(name+", "+activationName, func(t *testing.T) {
				const images = kernel.Lanes - 3
				f := newFixture(t, shape, activation, images)
				x, parameters := wide(f.x), wide(f.parameters)
				for lane := range kernel.Lanes {
					for i, want := range plainLayer(shape, activation, x, parameters, lane) {
						if got := float64(f.y[i*kernel.Lanes+lane]); math.Abs(got-want) > 1e-5 {
							t.Fatalf("value %d of lane %d is %v, want %v", i, lane, got, want)
						}
					}
				}
				if want := f.plainLoss(x, parameters); math.Abs(float64(f.loss)-want) > 1e-6*want {
					t.Errorf("loss is %v, want %v", f.loss, want)
				}
				compareWithDifferences(t, f, "parameter", f.dParameters, parameters, func() float64 {
					return f.plainLoss(x, parameters)
				})
				compareWithDifferences(t, f, "input", f.dx, x, func() float64 { return f.plainLoss(x, parameters) })
			})
		}
	}
}

// compareWithDifferences compares a gradient with finite differences of the loss, computed by definition in float64.
func compareWithDifferences(t *testing.T, f *fixture, what string, gradient []float32, values []float64,
	loss func() float64,
) {
	const step = 1e-5
	for i := 0; i < len(values); i += 1 + len(values)/97 { // A prime: all lanes and channels have their turn.
		value := values[i]
		values[i] = value + step
		above := loss()
		values[i] = value - step
		below := loss()
		values[i] = value
		if want := (above - below) / (2 * step); math.Abs(float64(gradient[i])-want) > 1e-4*(1+math.Abs(want)) {
			t.Errorf("derivative by %s %d is %v, want %v", what, i, gradient[i], want)
		}
	}
	if what == "input" {
		for i, derivative := range gradient {
			if f.share[i%kernel.Lanes] == 0 && derivative != 0 {
				t.Fatalf("derivative by input %d, in a lane without an image, is %v", i, derivative)
			}
		}
	}
}

func TestLayerRefusesShapes(t *testing.T) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("x"), gorgonia.WithShape(3, 7, 6, kernel.Lanes))
	shape := layers["convolution"]
	vector := func(name string, length int) *gorgonia.Node {
		return gorgonia.NewVector(g, tensor.Float32, gorgonia.WithName(name), gorgonia.WithShape(length))
	}
	right := vector("right", operation.ParameterCount(shape))
	if _, err := operation.Layer("layer", x, right, shape, kernel.ReLU); err != nil {
		t.Fatal(err)
	}
	if _, err := operation.Layer("layer", x, vector("wrong", 5), shape, kernel.ReLU); err == nil {
		t.Error("accepts five parameters")
	}
	wider := shape
	wider.InWidth++
	if _, err := operation.Layer("layer", x, right, wider, kernel.ReLU); err == nil {
		t.Error("accepts an image that is too narrow")
	}
	none := shape
	none.Stride = 0
	if _, err := operation.Layer("layer", x, right, none, kernel.ReLU); !errors.Is(err, kernel.ErrShape) {
		t.Errorf("got error %v for stride 0, want %v", err, kernel.ErrShape)
	}
	if _, err := operation.Reshape(x, 5, kernel.Lanes); !errors.Is(err, operation.ErrShape) {
		t.Errorf("got error %v for a reshape to another size, want %v", err, operation.ErrShape)
	}
}

// Gorgonia takes two nodes for one if their operations' names agree: those of two layers of one shape must not.
func TestLayersOfOneShapeAreDistinct(t *testing.T) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	g := gorgonia.NewGraph()
	x := gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithName("x"), gorgonia.WithShape(4, kernel.Lanes))
	p := gorgonia.NewVector(g, tensor.Float32, gorgonia.WithName("p"), gorgonia.WithShape(20))
	first := must(t)(operation.Layer("first", x, p, kernel.Linear(4, 4), kernel.None))
	second := must(t)(operation.Layer("second", x, p, kernel.Linear(4, 4), kernel.None))
	activated := must(t)(operation.Layer("second", x, p, kernel.Linear(4, 4), kernel.ReLU))
	if first == second || second == activated {
		t.Error("two layers are one node")
	}
}
