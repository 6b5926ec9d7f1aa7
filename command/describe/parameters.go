package describe

import (
	"fmt"
	"slices"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Names are the names of the parameters that the trials of some studies have, in the order in which they are shown, but
// for the seed. The specs have their defaults filled in.
func Names(specs ...*trellisv1.StudySpec) []string {
	var names []string
	for _, spec := range specs {
		names = append(names, grid.Names(spec)...)
	}
	slices.SortFunc(names, grid.CompareNames)
	return slices.Compact(names)
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

// Value writes a parameter's value, number being how numbers are written that need not be whole.
func Value(value *trellisv1.Value, number func(float64) string) string {
	if x, ok := value.GetKind().(*trellisv1.Value_Number); ok {
		return number(x.Number)
	}
	return value.Written()
}

// ParameterColumns are the columns of parameters. Where a grid does not have one, they are empty.
func ParameterColumns[T any](names []string, parametersOf func(T) *trellisv1.Parameters) []output.Column[T] {
	columns := make([]output.Column[T], len(names))
	for i, name := range names {
		write := func(number func(float64) string) func(T) string {
			return func(item T) string { return Value(grid.Value(parametersOf(item), name), number) }
		}
		columns[i] = output.Column[T]{
			Name: name, Plain: write(output.PlainNumber), Short: write(output.ShortNumber),
			Yield: output.Yield{Same: true},
		}
	}
	return columns
}

// WithoutConstantShape leaves the axes of the network's shape out of tables of a study's items in which they don't
// vary. Of several studies, and of a program's axes, all stay.
func WithoutConstantShape[T any](columns []output.Column[T], specs ...*trellisv1.StudySpec) []output.Column[T] {
	if len(specs) != 1 || specs[0].GetProgram() != nil {
		return columns
	}
	for i, column := range columns {
		if slices.Contains(shape, column.Name) && !grid.VariesIn(specs[0], column.Name) {
			columns[i].Short = nil
		}
	}
	return columns
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
// them, which varied says, and the network's shape unless all have one.
func Parameters(p *trellisv1.Parameters, varied Axes) string {
	var parts []string
	for _, name := range grid.NamesOf(p) {
		if name != grid.MaxEpochs && name != grid.BatchSize && !(varied.OneShape && slices.Contains(shape, name)) {
			parts = append(parts, shortLabel(name)+" "+Value(p.GetValues()[name], output.ShortNumber))
		}
	}
	if size := p.GetValues()[grid.BatchSize]; size != nil && varied.BatchSize {
		parts = append(parts, "batch "+Value(size, output.ShortNumber))
	}
	if varied.Seed {
		parts = append(parts, fmt.Sprintf("seed %d", p.GetSeed()))
	}
	return strings.Join(parts, ", ")
}

// Point is Parameters with max_epochs.
func Point(p *trellisv1.Parameters, varied Axes) string {
	text := fmt.Sprintf("maximum epochs %d", p.GetMaxEpochs())
	if others := Parameters(p, varied); others != "" {
		return others + ", " + text
	}
	return text
}

// InBrackets puts a text into brackets behind another one. There are none around nothing.
func InBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// shape are the axes of a network's shape, and of its loss, that most studies leave alone.
var shape = []string{"filters", "depth", "kernel", "hidden", "loss"}

// Axes says which of the axes that most studies leave alone a study varies.
type Axes struct {
	BatchSize, Seed bool
	// OneShape says that all its networks have one shape and one loss.
	OneShape bool
}

// HasDefaultShape says that a network has the shape and the loss that its model has by default.
func HasDefaultShape(p *trellisv1.Parameters, model *trellisv1.Model) bool {
	for _, name := range shape {
		value, axis := p.GetValues()[name], grid.Axis(model, name)
		if value != nil && (axis.GetDefault() == nil || grid.KeyOf(value) != grid.KeyOf(axis.GetDefault())) {
			return false
		}
	}
	return true
}

// VariedAxes looks at a spec with its defaults filled in. To settle is to add seeds.
func VariedAxes(spec *trellisv1.StudySpec) Axes {
	varies := func(name string) bool { return grid.VariesIn(spec, name) }
	return Axes{
		OneShape:  spec.GetProgram() == nil && !slices.ContainsFunc(shape, varies),
		BatchSize: grid.VariesIn(spec, grid.BatchSize),
		Seed:      spec.GetSeeds() != nil && grid.Several(spec.GetSeeds()) || spec.GetSettle() != nil,
	}
}
