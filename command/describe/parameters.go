package describe

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
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

// labels are what people call axes whose names read otherwise.
var labels = map[string]string{"latent_dim": "latent dimension", "max_epochs": "maximum epochs"}

// Label is what people call an axis.
func Label(axis string) string {
	if label, ok := labels[axis]; ok {
		return label
	}
	return strings.ReplaceAll(axis, "_", " ")
}

// shortLabels are those of a single line.
var shortLabels = map[string]string{"latent_dim": "latent"}

func shortLabel(axis string) string {
	if label, ok := shortLabels[axis]; ok {
		return label
	}
	return Label(axis)
}

// Value writes a point's value on a common axis, number being how numbers are written that need not be whole.
func Value(axis *grid.CommonAxis, p *trellisv1.Parameters, number func(float64) string) string {
	if axis.GetInteger() {
		return strconv.FormatUint(uint64(axis.Value(p)), 10)
	}
	return number(axis.Value(p))
}

// ParameterColumns are the columns of common axes.
func ParameterColumns[T any](
	axes []grid.CommonAxis, parametersOf func(T) *trellisv1.Parameters,
) []output.Column[T] {
	columns := make([]output.Column[T], len(axes))
	for i := range axes {
		axis := &axes[i]
		columns[i] = output.Column[T]{
			Name:  axis.GetName(),
			Plain: func(item T) string { return Value(axis, parametersOf(item), output.PlainNumber) },
			Short: func(item T) string { return Value(axis, parametersOf(item), output.ShortNumber) },
			Yield: output.Yield{Same: true},
		}
	}
	return columns
}

// WithOwnAxes returns the columns with one more for each of a model's own axes, where a grid has them: before
// max_epochs.
func WithOwnAxes[T any](
	columns []output.Column[T], names []string, parametersOf func(T) *trellisv1.Parameters,
) []output.Column[T] {
	at := slices.IndexFunc(columns, func(c output.Column[T]) bool {
		return c.Name == grid.CommonAxes[grid.MaxEpochs].GetName()
	})
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
	var parts []string
	for place := range grid.CommonAxes[:grid.MaxEpochs] {
		axis := &grid.CommonAxes[place]
		parts = append(parts, shortLabel(axis.GetName())+" "+Value(axis, p, output.ShortNumber))
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetValues())) {
		parts = append(parts, Label(name)+" "+output.ShortNumber(p.GetValues()[name]))
	}
	text := strings.Join(parts, ", ")
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
