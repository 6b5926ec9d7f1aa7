package grid

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Names of parameters. Of these, MaxEpochs and Seed are fields of points; the others are among their values.
const (
	LatentDim    = "latent_dim"
	LearningRate = "learning_rate"
	WeightDecay  = "weight_decay"
	MaxEpochs    = "max_epochs"
	BatchSize    = "batch_size"
	Seed         = "seed"
	// Seeds is what a spec calls the values of Seed.
	Seeds = "seeds"
)

// The parameters that the coordinator itself knows.
var (
	maxEpochs = &trellisv1.ModelAxis{
		Name: MaxEpochs, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 10_000,
	}
	seeds = &trellisv1.ModelAxis{
		Name: Seeds, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 0, Maximum: math.MaxUint32,
	}
)

// place is where a parameter stands in the order of the digits.
func place(name string) int {
	switch name {
	case LatentDim:
		return 0
	case LearningRate:
		return 1
	case WeightDecay:
		return 2
	case MaxEpochs:
		return 4
	case BatchSize:
		return 5
	case Seed:
		return 6
	}
	return 3
}

// CompareNames orders parameters as the digits of indices, the slowest first. The order follows from the names alone, so
// that it is the same for every study, and for those of older versions.
func CompareNames(a, b string) int {
	return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b))
}

// Names returns the names of the parameters of a spec's points in the order of the digits: max_epochs among them, but not
// the seed.
func Names(spec *trellisv1.StudySpec) []string {
	names := map[string]struct{}{MaxEpochs: {}}
	for _, grid := range spec.GetGrid() {
		for name := range grid.GetAxes() {
			names[name] = struct{}{}
		}
	}
	for name := range spec.GetFixed() {
		names[name] = struct{}{}
	}
	return slices.SortedFunc(maps.Keys(names), CompareNames)
}

// NamesOf returns the names of the parameters of a point in the order of the digits: max_epochs among them, but not the
// seed.
func NamesOf(p *trellisv1.Parameters) []string {
	names := make([]string, 0, len(p.GetValues())+1)
	names = append(names, MaxEpochs)
	for name := range p.GetValues() {
		names = append(names, name)
	}
	slices.SortFunc(names, CompareNames)
	return names
}
