//go:build !race

package node

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
	"trellis/worker"
)

// What a coordinator accepts is what the trainer makes networks for, over all models, sizes of images and values of
// the axes. The coordinator looks at the extremes of a grid, of which a half has a condition; the trainer at each of
// its points.
func TestAcceptedIsTrained(t *testing.T) {
	// As many, and more until each model was accepted and refused, which chance may put off.
	const cases, atMost = 300, 6000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 19))
	models := spec.Models()
	side := func() int {
		if random.IntN(8) == 0 { // What no model takes, or not all do.
			return []int{1, 7, 8, 257, 300}[random.IntN(5)]
		}
		return 8 + random.IntN(249)
	}
	accepted, refused := map[string]int{}, map[string]int{}
	missing := func(model *trellisv1.Model) bool {
		return accepted[model.GetName()] == 0 || refused[model.GetName()] == 0 && model.GetData()
	}
	for n := 0; n < cases || n < atMost && slices.ContainsFunc(models, missing); n++ {
		model := models[random.IntN(len(models))]
		grids := &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{grid.MaxEpochs: trellisv1.AxisOf(1)}}
		for _, axis := range model.GetAxes() {
			count := 1
			if axis.GetSizes() {
				count = 1 + random.IntN(3)
			}
			grids.Axes[axis.GetName()] = randomAxis(random, axis, count)
		}
		data := &trellisv1.DataSet{
			Name: "random", Height: uint32(side()), Width: uint32(side()), Channels: 1 + random.Uint32N(5),
			TrainImages: 60, Classes: proto.Uint32(1 + random.Uint32N(256)),
		}
		study := &trellisv1.StudySpec{Model: model.GetName(), Data: data.GetName(), Grid: []*trellisv1.Grid{grids}}
		if grids.Axes["depth"] != nil && random.IntN(2) == 0 {
			study.Where = []string{
				"depth < 4", "depth + kernel < 8", "filters < 30", "latent_dim * depth < 1000",
				"filters * depth < 100 || kernel == 3",
			}[random.IntN(5)]
		}
		points, err := grid.New(study)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := grid.LeftOut(t.Context(), study); err != nil {
			continue // There are none.
		}
		_, here := models.ResolveSplit(study, data)
		var smallest, largest *trellisv1.ModelSize
		if here == nil {
			smallest, largest, here = models.Sizes(t.Context(), Size, study, data)
		}
		var there error
		var least, most uint64
		for _, point := range points.All() {
			size, err := Size(model.GetName(), grid.InputOf(study, data), point)
			if there = err; err != nil {
				break
			}
			if least == 0 || size.Weights < least {
				least = size.Weights
			}
			most = max(most, size.Weights)
		}
		what := fmt.Sprintf("seed %d: %s, %v where %q, %d x %d x %d", seed, model.GetName(), grids, study.Where,
			data.GetChannels(), data.GetHeight(), data.GetWidth())
		switch {
		case (here == nil) != (there == nil):
			t.Fatalf("%s: submission says %v, the trainer %v", what, here, there)
		case here != nil:
			refused[model.GetName()]++
		case (most > 0) != model.GetData():
			t.Fatalf("%s: a network of %d weights", what, most)
		case largest.GetWeights() != most || study.Where == "" && smallest.GetWeights() != least:
			t.Fatalf("%s: networks of %d to %d weights, the plan says %v to %v", what, least, most, smallest, largest)
		default:
			accepted[model.GetName()]++
		}
	}
	for _, model := range models {
		if name := model.GetName(); missing(model) {
			t.Errorf("seed %d: %s: %d were accepted and %d refused", seed, name, accepted[name], refused[name])
		}
	}
}

// randomAxis are up to so many values of an axis, small ones more often than large ones.
func randomAxis(random *rand.Rand, axis *trellisv1.ModelAxis, count int) *trellisv1.Axis {
	if axis.GetKind() == trellisv1.Kind_KIND_TEXT {
		return trellisv1.AxisOf(axis.GetTexts()[random.IntN(len(axis.GetTexts()))])
	}
	low, high := axis.GetMinimum(), axis.GetMaximum()
	if axis.GetKind() == trellisv1.Kind_KIND_NUMBER {
		return trellisv1.AxisOf(low + (1-random.Float64())*(high-low))
	}
	known := map[int]bool{}
	var values []int
	for range count {
		value := int(low) + int(math.Pow(random.Float64(), 2)*(high-low+1))
		if !known[value] {
			known[value], values = true, append(values, value)
		}
	}
	return trellisv1.AxisOf(values...)
}

// What is accepted is trained: of a random shape, for an epoch, and from the checkpoint of the first to the bits of
// the second.
func TestRandomShapesAreTrained(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 20))
	for _, model := range spec.Models() {
		for trained := 0; model.GetData() && trained < 2; {
			point := &trellisv1.Parameters{MaxEpochs: 2, Seed: 3, Values: map[string]*trellisv1.Value{}}
			for _, axis := range model.GetAxes() {
				axis = proto.CloneOf(axis)
				if axis.GetGrows() || axis.GetName() == grid.BatchSize {
					axis.Maximum = 20
				}
				point.Values[axis.GetName()] = randomAxis(random, axis, 1).GetValues()[0]
			}
			point.Values[grid.LearningRate] = trellisv1.NumberValue(1e-3)
			input := &trellisv1.ModelInput{
				Channels: 1 + random.Uint32N(4), Height: 8 + random.Uint32N(20), Width: 8 + random.Uint32N(20),
				Classes: 10 + random.Uint32N(9),
			}
			config := worker.TrainerConfig(&trellisv1.RunConfig{
				Model: model.GetName(), Input: input, Parameters: point,
			})
			if size, err := Size(model.GetName(), input, point); err != nil || size.Weights > 300_000 {
				continue
			}
			trained++
			config.Data = trainer.RandomImages(config, 20, 3)
			compareResumed(t, config, fmt.Sprintf("seed %d: %s with %v and %v", seed, model.GetName(), input, point))
		}
	}
}

// compareResumed trains two epochs, and the second one again from the checkpoint of the first.
func compareResumed(t *testing.T, config trainer.Config, what string) {
	t.Helper()
	source := trainer.Config{
		Model: trainer.ConvAutoencoder, LatentDim: config.LatentDim, LearningRate: 1e-3, BatchSize: 10, MaxEpochs: 1,
		Input: config.Input, Data: config.Data, Values: map[string]float64{},
	}
	if config.Model == trainer.Classifier {
		for _, name := range []string{trainer.Filters, trainer.Depth, trainer.Kernel, trainer.Hidden} {
			source.Values[name] = config.Values[name]
		}
		_, checkpoints := train(t, source, what)
		config.Pretrained = checkpoints[0]
	}
	want, checkpoints := train(t, config, what)
	config.Resume = checkpoints[0]
	got, last := train(t, config, what)
	if fmt.Sprint(got) != fmt.Sprint(want[1:]) {
		t.Errorf("%s: resumed, it reports %v, want %v", what, got, want[1:])
	}
	resumed, err := last[0].MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := checkpoints[1].MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(resumed, whole) {
		t.Errorf("%s: resumed, it has another checkpoint", what)
	}
}

// train returns the losses of the epochs, and the checkpoints after them.
func train(t *testing.T, config trainer.Config, what string) (losses [][2]float64, checkpoints []*trainer.Checkpoint) {
	t.Helper()
	config.Checkpoint = func(c *trainer.Checkpoint) error {
		checkpoints = append(checkpoints, c.Clone())
		return nil
	}
	_, err := trainer.Train(t.Context(), config, func(r trainer.Report) error {
		losses = append(losses, [2]float64{r.TrainLoss, r.ValidationLoss})
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return losses, checkpoints
}

// Axes that came after runs without them have, as their default, what these runs had: then a run has the id that it
// had.
func TestDefaultsHaveTheOldIDs(t *testing.T) {
	known := 0
	for _, model := range spec.Models() {
		for _, axis := range model.GetAxes() {
			if axis.GetCommon() || axis.GetDefault() == nil || axis.GetName() == "fine_tune" ||
				axis.GetName() == "divergence_weight" {
				continue
			}
			known++
			id := func(values map[string]*trellisv1.Value) string {
				return grid.RunID(&trellisv1.RunConfig{
					Model: model.GetName(), Parameters: &trellisv1.Parameters{Values: values},
				})
			}
			name, other := axis.GetName(), trellisv1.IntegerValue(4)
			if axis.GetKind() == trellisv1.Kind_KIND_TEXT {
				other = trellisv1.TextValue(axis.GetTexts()[1])
			} else if axis.GetDefault().GetInteger() == 4 {
				other = trellisv1.IntegerValue(5)
			}
			without := id(nil)
			if got := id(map[string]*trellisv1.Value{name: axis.GetDefault()}); got != without {
				t.Errorf("%s with %s %v has the id %s, want %s as without", model.GetName(), name, axis.GetDefault(), got,
					without)
			}
			if got := id(map[string]*trellisv1.Value{name: other}); got == without {
				t.Errorf("%s with %s %v has the id of the default", model.GetName(), name, other)
			}
		}
	}
	if known != 5+5+3+4+1 {
		t.Errorf("%d axes came later, want 18", known)
	}
}

// A text of a spec is the trainer's.
func TestTextsReachTheTrainer(t *testing.T) {
	for text, want := range map[string]float64{"mse": 0, "bce": 1} {
		config := worker.TrainerConfig(&trellisv1.RunConfig{Model: trainer.ConvAutoencoder, Parameters: &trellisv1.Parameters{
			Values: map[string]*trellisv1.Value{trainer.Loss: trellisv1.TextValue(text)},
		}})
		if got, given := config.Values[trainer.Loss]; got != want || !given {
			t.Errorf("%s is %v (given: %t), want %v", text, got, given, want)
		}
	}
}

// An epoch with a frozen encoder has a small part of the operations of one that trains it. The sizes of a study have
// both.
func TestSizesOfFrozenAndTrainedEncoders(t *testing.T) {
	models := spec.Models()
	sizes := func(fineTune ...int) (smallest, largest float64) {
		of := models.WithDefaults(&trellisv1.StudySpec{
			Name: "s", Model: "classifier", Data: "mnist",
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(8), "learning_rate": trellisv1.AxisOf(1e-3), "max_epochs": trellisv1.AxisOf(5),
				"fine_tune": trellisv1.AxisOf(fineTune...),
			}}},
		})
		low, high, err := models.Sizes(t.Context(), Size, of, &trellisv1.DataSet{TrainImages: 60_000, TestImages: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		return low.GetOperations(), high.GetOperations()
	}
	frozen, _ := sizes(0)
	_, trained := sizes(1)
	if ratio := trained / frozen; ratio < 80 || ratio > 200 {
		t.Errorf("a trained encoder has %.0f times the operations of a frozen one: %g and %g", ratio, trained, frozen)
	}
	if low, high := sizes(0, 1); low != frozen || high != trained {
		t.Errorf("both together have %g to %g operations, want %g to %g", low, high, frozen, trained)
	}
}

// Axes that are said to leave the layers as they are do: with each of their values a network has as many weights, or
// there is none for the same reason.
func TestSameLayers(t *testing.T) {
	looked := 0
	for _, model := range spec.Models() {
		for _, axis := range model.GetAxes() {
			if !axis.GetSameLayers() {
				continue
			}
			for _, shape := range []struct{ depth, kernel int64 }{{2, 3}, {5, 5}} {
				of := func(value float64) string {
					point := &trellisv1.Parameters{MaxEpochs: 2, Seed: 3, Values: map[string]*trellisv1.Value{
						grid.LatentDim: trellisv1.IntegerValue(8), grid.LearningRate: trellisv1.NumberValue(1e-3),
						"depth": trellisv1.IntegerValue(shape.depth), "kernel": trellisv1.IntegerValue(shape.kernel),
						axis.GetName(): trellisv1.IntegerValue(int64(value)),
					}}
					size, err := Size(model.GetName(), &trellisv1.ModelInput{Channels: 1, Height: 28, Width: 28, Classes: 10}, point)
					return fmt.Sprint(size.Weights, err)
				}
				for value := axis.GetMinimum(); value <= axis.GetMaximum(); value++ {
					looked++
					if got, want := of(value), of(axis.GetMinimum()); got != want {
						t.Errorf("%s with %v and %s %v: got %s, want %s", model.GetName(), shape, axis.GetName(), value, got, want)
					}
				}
			}
		}
	}
	if looked == 0 {
		t.Error("no model has such an axis")
	}
}
