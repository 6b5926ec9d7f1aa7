//go:build !race

package trainer

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"trellis/trainer/adam"
	"trellis/trainer/dataset"
	"trellis/trainer/kernel"
	"trellis/trainer/network"
)

// sizesCase is what PyTorch computed in float64 for one input. The file's field "about" says from which weights and
// images.
type sizesCase struct {
	Model                                            string
	Channels, Height, Width, Classes, Latent, Images int
	Losses                                           []float64
	// Those of shapes.json have a shape too.
	Filters, Depth, Kernel, Hidden, Weights int
	Loss                                    string
	Params                                  []struct {
		Name           string
		Shape          []int
		Norm, Sum, Dot float64
		First          []float64
	}
}

// sizesCases are those of a file, which has so many.
func sizesCases(t *testing.T, file string, count int) []sizesCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var reference struct{ Cases []sizesCase }
	if err := json.Unmarshal(data, &reference); err != nil {
		t.Fatal(err)
	}
	if len(reference.Cases) != count {
		t.Fatalf("there are %d cases, want %d", len(reference.Cases), count)
	}
	return reference.Cases
}

// Numbers of weights, losses of three steps and gradients of the first are PyTorch's for networks of other shapes.
func TestShapesReference(t *testing.T) {
	skipShort(t)
	for _, want := range sizesCases(t, "testdata/shapes.json", 20) {
		name := fmt.Sprintf("%s %dx%dx%d, %d filters, depth %d, kernel %d, hidden %d %s", want.Model, want.Channels,
			want.Height, want.Width, want.Filters, want.Depth, want.Kernel, want.Hidden, want.Loss)
		t.Run(name, func(t *testing.T) { compareSizes(t, want) })
	}
}

// Losses of three steps and gradients of the first are PyTorch's for images of other sizes, channels and classes.
func TestSizesReference(t *testing.T) {
	skipShort(t)
	for _, want := range sizesCases(t, "testdata/sizes.json", 24) {
		name := fmt.Sprintf("%s %dx%dx%d", want.Model, want.Channels, want.Height, want.Width)
		t.Run(name, func(t *testing.T) { compareSizes(t, want) })
	}
}

func compareSizes(t *testing.T, want sizesCase) {
	config := Config{
		Model: want.Model, LatentDim: want.Latent,
		Input: sized(want.Channels, want.Height, want.Width, want.Classes),
	}
	if want.Model == DenoisingAutoencoder {
		config.Set(Noise, 0.3)
	}
	if want.Depth > 0 {
		config.Set(Filters, float64(want.Filters))
		config.Set(Depth, float64(want.Depth))
		config.Set(Kernel, float64(want.Kernel))
	}
	if want.Hidden > 0 {
		config.Set(Hidden, float64(want.Hidden))
	}
	if want.Loss != "" {
		config.SetText(Loss, want.Loss)
	}
	n, err := newNetwork(&config)
	if err != nil {
		t.Fatal(err)
	}
	size, err := config.Size()
	if train, evaluate := n.FLOPs(); err != nil || size.Weights != len(n.Weights) ||
		size.Train-size.TrainSaved != train || size.Evaluate-size.EvaluateSaved != evaluate ||
		want.Weights > 0 && want.Weights != size.Weights {
		t.Errorf("the size is %+v (error %v), want %d weights, and %d and %d operations", size, err, want.Weights,
			train, evaluate)
	}
	frozen := slices.IndexFunc(n.Parameters, func(p network.Parameter) bool { return p.Name == want.Params[0].Name })
	trained := n.Parameters[frozen:]
	if len(trained) != len(want.Params) {
		t.Fatalf("%d parameters are trained, want %d", len(trained), len(want.Params))
	}
	fillByFormula(n.Parameters[:frozen])
	fillByFormula(trained)
	examples := network.Examples{
		Pixels: make([]byte, want.Images*config.Input.Size()), Labels: make([]byte, want.Images),
		Noise: formulaNormals{}, Draws: formulaNormals{},
	}
	for i := range examples.Pixels {
		examples.Pixels[i] = byte(i*(i+7)/16 + 3*i)
	}
	batch := make([]uint32, want.Images)
	for i := range batch {
		batch[i], examples.Labels[i] = uint32(i), byte((5*i+2)%want.Classes)
	}
	solver := adam.New(len(n.Weights)-n.Frozen, 1e-3, 1e-5)
	for step, wantLoss := range want.Losses {
		loss, err := n.Train(t.Context(), examples, batch)
		if err != nil {
			t.Fatal(err)
		}
		if difference := math.Abs(loss-wantLoss) / wantLoss; difference > 1e-5 {
			t.Errorf("loss at step %d is %v, want %v: differs by %.1e", step, loss, wantLoss, difference)
		}
		for i, p := range trained {
			its := want.Params[i]
			if p.Name != its.Name || !slices.Equal(p.Shape, its.Shape) {
				t.Fatalf("parameter %d is %s %v, want %s %v", i, p.Name, p.Shape, its.Name, its.Shape)
			}
			if step > 0 {
				continue
			}
			var squares, sum, dot float64
			for k, g := range p.Gradient {
				squares += float64(g) * float64(g)
				sum += float64(g)
				dot += float64(g) * math.Cos(0.3*float64(k))
			}
			// Sums may cancel: they are compared on the scale of what they are sums of.
			scale := its.Norm * math.Sqrt(float64(len(p.Gradient)))
			if math.Abs(math.Sqrt(squares)-its.Norm) > 1e-5*its.Norm || math.Abs(sum-its.Sum) > 1e-5*scale ||
				math.Abs(dot-its.Dot) > 1e-5*scale {
				t.Errorf("gradient of %s has norm %v, sum %v and product %v, want %v, %v and %v", p.Name,
					math.Sqrt(squares), sum, dot, its.Norm, its.Sum, its.Dot)
			}
			for k, first := range its.First {
				if math.Abs(float64(p.Gradient[k])-first) > 1e-5*its.Norm {
					t.Errorf("gradient %d of %s is %v, want %v", k, p.Name, p.Gradient[k], first)
				}
			}
		}
		if err := n.Step(solver); err != nil {
			t.Fatal(err)
		}
	}
}

func sized(channels, height, width, classes int) Input {
	return Input{Image: Image{Channels: channels, Height: height, Width: width}, Classes: classes}
}

// noiseData are images that a seed gives, with labels of all classes.
func noiseData(input Input, train, validation, test int, seed uint64) dataset.Split {
	random := rand.New(rand.NewPCG(seed, 0))
	images := func(n int) dataset.Images {
		images := dataset.Images{Pixels: make([]byte, n*input.Size()), Labels: make([]byte, n)}
		for i := range images.Pixels {
			images.Pixels[i] = byte(random.Uint32())
		}
		for i := range images.Labels {
			images.Labels[i] = byte(random.IntN(input.Classes))
		}
		return images
	}
	return dataset.Split{
		Digest: "noise", Height: input.Height, Width: input.Width, Channels: input.Channels,
		Train: images(train), Validation: images(validation), Test: images(test),
	}
}

// pretrainedFor is what a classifier begins with, of random weights.
func pretrainedFor(t *testing.T, config *Config) *Checkpoint {
	t.Helper()
	checkpoint, err := config.randomPretrained()
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint
}

// Training has the same bits on each path for images of any size, number of channels and number of classes, and for
// networks of any shape.
func TestSizesBits(t *testing.T) {
	skipShort(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	between := func(from, to int) int { return from + random.IntN(to-from+1) }
	for _, name := range networks {
		side, batch := 28, 20
		if name == VariationalAutoencoder {
			side, batch = 10, 5 // The portable path takes seconds for larger ones.
		}
		config := Config{
			Model: name, LatentDim: between(1, 20), LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: between(3, batch),
			Seed: random.Uint32(), MaxEpochs: 1,
			Input: sized(between(1, 4), between(9, side), between(9, side), between(2, 40)),
		}
		switch name {
		case ConvAutoencoder:
			config.Set(Loss, float64(between(0, 1)))
		case DenoisingAutoencoder:
			config.Set(Noise, 0.3)
			config.Set(Loss, float64(between(0, 1)))
		case Classifier:
			config.Values = map[string]float64{"fine_tune": float64(between(0, 1)), "shift": float64(between(0, 4))}
		}
		for drawn := false; !drawn; { // Images are too small for some.
			config.Set(Filters, float64(between(1, 20)))
			config.Set(Depth, float64(between(2, 4)))
			config.Set(Kernel, float64(between(3, 5)))
			if name != VariationalAutoencoder {
				config.Set(Hidden, float64(between(1, 80)))
			}
			size, err := config.Size()
			drawn = err == nil && size.Weights < 200_000
		}
		config.Data = noiseData(config.Input, between(2, batch+1), between(1, 5), between(1, batch-3), seed)
		config.Pretrained = pretrainedFor(t, &config)
		if err := config.Validate(); err != nil {
			t.Fatalf("seed %d, %s: %v", seed, name, err)
		}
		var want []Report
		var weights map[string][]float32
		inUse := kernel.Path()
		for _, path := range kernel.Paths() {
			if err := kernel.SetPath(path); err != nil {
				t.Fatal(err)
			}
			result, got := collect(t, config)
			if want == nil {
				want, weights = got, result.Weights
			}
			if fmt.Sprint(got[0].TrainLoss, got[0].ValidationLoss, *got[0].TestLoss, got[0].Metrics) !=
				fmt.Sprint(want[0].TrainLoss, want[0].ValidationLoss, *want[0].TestLoss, want[0].Metrics) {
				t.Errorf("seed %d, %s for %+v: path %s reports %+v, path %s %+v", seed, name, config.Values, path,
					got[0], kernel.Paths()[0], want[0])
			}
			for parameter, values := range result.Weights {
				if !slices.Equal(values, weights[parameter]) {
					t.Errorf("seed %d, %s for %+v: path %s has other weights %s", seed, name, config.Input, path,
						parameter)
				}
			}
		}
		if err := kernel.SetPath(inUse); err != nil {
			t.Fatal(err)
		}
	}
}

// An input without a place in the configuration is the paper's, and has the bits and the identity that it had before
// there was a place.
func TestInputOfThePaperIsTheDefault(t *testing.T) {
	plain := small(t)
	plain.MaxEpochs = 1
	given := plain
	given.Input = network.Digits
	_, want := collect(t, plain)
	_, got := collect(t, given)
	if fmt.Sprint(got[0].ValidationLoss) != fmt.Sprint(want[0].ValidationLoss) || plain.identity() != given.identity() {
		t.Error("the paper's input makes another run")
	}
	other := given
	if other.Input.Channels = 3; other.identity() == plain.identity() {
		t.Error("other channels have the same identity")
	}
	// Runs on digits and letters were there before, and their networks had ten classes, which made no difference.
	other = given
	if other.Input.Classes = 26; other.identity() != plain.identity() {
		t.Error("classes that the model does not tell apart change the identity")
	}
	classifier := smallModel(t, Classifier)
	other = classifier
	other.Input = sized(1, 28, 28, 26)
	if other.identity() == classifier.identity() {
		t.Error("other classes have the same identity")
	}
}

// What a model does not take is refused, with what would be right.
func TestModelsRefuseInputs(t *testing.T) {
	for _, test := range []struct {
		model string
		input Input
		want  string
	}{
		{ConvAutoencoder, sized(3, 9, 256, 10), ""},
		{ConvAutoencoder, sized(1, 7, 20, 10), "images are 7 x 20 pixels, want 8 to 256 a side"},
		{ConvAutoencoder, sized(1, 20, 257, 10), "images are 20 x 257 pixels, want 8 to 256 a side"},
		{VariationalAutoencoder, sized(4, 8, 8, 0), ""},
		{VariationalAutoencoder, sized(5, 8, 7, 0), "images are 8 x 7 pixels, want 8 to 256 a side"},
		{DenoisingAutoencoder, sized(5, 28, 28, 10), "images have 5 channels, want 1 to 4"},
		{Classifier, sized(1, 28, 28, 256), ""},
		{Classifier, sized(1, 28, 28, 257), "images have 257 classes, want 1 to 256"},
		{Synthetic, Input{}, ""},
	} {
		definition, err := find(test.model)
		if err != nil {
			t.Fatal(err)
		}
		m := definition.Describe()
		err = m.Check(test.input)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s with %+v: %v, want %q", test.model, test.input, err, test.want)
		}
		// What the model takes can be built.
		if test.want == "" && m.Data {
			config := Config{Model: test.model, LatentDim: 3, Input: test.input, Values: valuesFor(test.model)}
			if _, err := newNetwork(&config); err != nil {
				t.Errorf("%s with %+v: %v", test.model, test.input, err)
			}
		}
	}
}

func valuesFor(name string) map[string]float64 {
	if name == DenoisingAutoencoder {
		return map[string]float64{"noise": 1}
	}
	return nil
}
