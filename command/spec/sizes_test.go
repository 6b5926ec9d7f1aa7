package spec

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
)

// What a coordinator accepts is what the trainer makes networks for, over all models, sizes of images and values of the
// axes. What decides over large layers, the trainer reads off the network's own layers, and the coordinator off what
// the model says of itself.
func TestAcceptedIsTrained(t *testing.T) {
	const cases = 2000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 19))
	models := Models()
	side := func() int {
		if random.IntN(8) == 0 { // What no model takes, or not all do.
			return []int{1, 7, 8, 257, 300}[random.IntN(5)]
		}
		return 8 + random.IntN(249)
	}
	accepted, refused := map[string]int{}, map[string]int{}
	for range cases {
		model := models[random.IntN(len(models))]
		config := trainer.Config{Model: model.GetName()}
		grids := &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{}}
		for _, axis := range model.GetAxes() {
			value := axis.GetMinimum() + random.Float64()*(axis.GetMaximum()-axis.GetMinimum())
			one := trellisv1.NumberValue(value)
			if axis.GetKind() == trellisv1.Kind_KIND_INTEGER {
				whole := int(axis.GetMinimum()) + random.IntN(int(axis.GetMaximum()-axis.GetMinimum())+1)
				value, one = float64(whole), trellisv1.IntegerValue(int64(whole))
			}
			grids.Axes[axis.GetName()] = trellisv1.ListOf(one)
			config.Set(axis.GetName(), value)
		}
		data := &trellisv1.DataSet{
			Name: "random", Height: uint32(side()), Width: uint32(side()), Channels: 1 + random.Uint32N(5),
			TrainImages: 60, Classes: proto.Uint32(1 + random.Uint32N(256)),
		}
		spec := &trellisv1.StudySpec{Model: model.GetName(), Data: data.GetName(), Grid: []*trellisv1.Grid{grids}}
		if input := grid.InputOf(spec, data); input != nil {
			config.Input = trainer.Input{
				Image: trainer.Image{
					Channels: int(input.GetChannels()), Height: int(input.GetHeight()), Width: int(input.GetWidth()),
				},
				Classes: int(input.GetClasses()),
			}
		}
		_, here := models.ResolveSplit(spec, data)
		weights, there := config.Weights()
		what := fmt.Sprintf("%s, latent_dim %d, %d x %d x %d", model.GetName(), config.LatentDim, data.GetChannels(),
			data.GetHeight(), data.GetWidth())
		switch {
		case (here == nil) != (there == nil):
			t.Fatalf("%s: submission says %v, the trainer %v", what, here, there)
		case here != nil:
			refused[model.GetName()]++
		case (weights > 0) != model.GetData():
			t.Fatalf("%s: a network of %d weights", what, weights)
		default:
			accepted[model.GetName()]++
		}
	}
	for _, model := range models {
		name := model.GetName()
		if accepted[name] < cases/100 || refused[name] < cases/100 && model.GetData() {
			t.Errorf("%s: %d were accepted and %d refused", name, accepted[name], refused[name])
		}
	}
}
