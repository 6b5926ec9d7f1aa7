package describe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// OwnAxes are the names of the axes that only the spec's model has, sorted. The spec has its defaults filled in.
func OwnAxes(specs ...*trellisv1.StudySpec) []string {
	names := map[string]bool{}
	for _, spec := range specs {
		for _, grid := range spec.GetGrid() {
			for name := range grid.GetAxes() {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// WithOwnAxes returns the columns with one more for each of a model's own axes, behind weight_decay.
func WithOwnAxes[T any](
	columns []output.Column[T], names []string, parametersOf func(T) *trellisv1.Parameters,
) []output.Column[T] {
	at := slices.IndexFunc(columns, func(c output.Column[T]) bool { return c.Name == "weight_decay" }) + 1
	var own []output.Column[T]
	for _, name := range names {
		write := func(number func(float64) string) func(T) string {
			return func(item T) string {
				if value, ok := parametersOf(item).GetValues()[name]; ok {
					return number(value)
				}
				return ""
			}
		}
		own = append(own, output.Column[T]{
			Name: name, Plain: write(output.PlainNumber),
			Short: write(output.ShortNumber), Yield: output.Yield{Same: true},
		})
	}
	return slices.Insert(slices.Clone(columns), at, own...)
}

// MetricIn returns the metric of that name, nil if there is none.
func MetricIn(metrics map[string]float64, name string) *float64 {
	value, ok := metrics[name]
	if !ok {
		return nil
	}
	return &value
}

// Parameters writes a point of a grid in one line. Seed and batch size are named only where trials differ in
// them, which varied says.
func Parameters(p *trellisv1.Parameters, varied Axes) string {
	text := fmt.Sprintf("latent %d, learning rate %s, weight decay %s", p.GetLatentDim(),
		output.ShortNumber(p.GetLearningRate()),
		output.ShortNumber(p.GetWeightDecay()))
	for _, name := range slices.Sorted(maps.Keys(p.GetValues())) {
		text += fmt.Sprintf(", %s %s", strings.ReplaceAll(name, "_", " "), output.ShortNumber(p.GetValues()[name]))
	}
	if varied.BatchSize {
		text += fmt.Sprintf(", batch %d", p.GetBatchSize())
	}
	if varied.Seed {
		text += fmt.Sprintf(", seed %d", p.GetSeed())
	}
	return text
}

// Axes says which of the axes that most studies leave alone a study varies.
type Axes struct{ BatchSize, Seed bool }

// VariedAxes looks at a spec with its defaults filled in. To settle is to add seeds.
func VariedAxes(spec *trellisv1.StudySpec) Axes {
	return Axes{BatchSize: several(spec.GetBatchSize()), Seed: several(spec.GetSeeds()) || spec.GetSettle() != nil}
}

func several(axis *trellisv1.IntegerAxis) bool { return axis != nil && len(axis.GetValues()) != 1 }
