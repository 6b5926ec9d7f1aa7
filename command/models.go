package command

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
)

// knownModels are the models that this binary trains.
func knownModels() grid.Models {
	var models grid.Models
	for _, model := range trainer.Models() {
		message := &trellisv1.Model{
			Name: model.Name, Summary: model.Summary, Data: model.Data, Pretrained: model.Pretrained, Loss: model.Loss,
		}
		for _, axis := range model.Axes {
			message.Axes = append(message.Axes, &trellisv1.ModelAxis{
				Name: axis.Name, Summary: axis.Summary, Integer: axis.Integer, Minimum: axis.Minimum, Maximum: axis.Maximum,
				ExclusiveMinimum: axis.ExclusiveMinimum, Default: axis.Default,
			})
		}
		for _, metric := range model.Metrics {
			message.Metrics = append(message.Metrics, &trellisv1.ModelMetric{Name: metric.Name, Summary: metric.Summary})
		}
		models = append(models, message)
	}
	return models
}

func (cli *commandLine) modelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List what can be trained, with the axes that only one model has",
		Long: `List what can be trained: the models that a spec may name.

AXES are those that only this model has. They stand in a spec's grid beside the others; one without a default must be given. METRICS are reported of each epoch beside the losses.`,
		Args: operands(),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			response, err := call(ctx, callTimeout, c.ListModels, &trellisv1.ListModelsRequest{})
			if err != nil {
				return err
			}
			list := newListWriter(cli.stdout, *format, "models", modelColumns)
			for _, model := range response.GetModels() {
				if err := list.Add(model); err != nil {
					return err
				}
			}
			return list.Close("There are no models.")
		})
	}
	return cmd
}

var modelColumns = []column[*trellisv1.Model]{
	both("name", (*trellisv1.Model).GetName),
	both("summary", (*trellisv1.Model).GetSummary),
	{"axes", axesIn("; "), axesIn("\n")},
	{"data", func(m *trellisv1.Model) string { return strconv.FormatBool(m.GetData()) }, nil},
	both("pretrained", func(m *trellisv1.Model) string { return strings.Join(m.GetPretrained(), ", ") }),
	both("loss", (*trellisv1.Model).GetLoss),
	both("metrics", metricNames),
}

// axesIn writes a model's own axes with their values and defaults, as in "fine_tune: 0 or 1, default 0".
func axesIn(separator string) func(*trellisv1.Model) string {
	return func(model *trellisv1.Model) string {
		var texts []string
		for _, axis := range model.GetAxes() {
			texts = append(texts, describeAxis(axis))
		}
		return strings.Join(texts, separator)
	}
}

func describeAxis(axis *trellisv1.ModelAxis) string {
	low, high := plainNumber(axis.GetMinimum()), plainNumber(axis.GetMaximum())
	text := axis.GetName() + ": "
	switch {
	case axis.GetExclusiveMinimum():
		text += "above " + low + ", at most " + high
	case axis.GetInteger() && axis.GetMaximum()-axis.GetMinimum() == 1:
		text += low + " or " + high
	default:
		text += low + " to " + high
	}
	if axis.GetInteger() && axis.GetMaximum()-axis.GetMinimum() > 1 {
		text += ", whole"
	}
	if axis.Default != nil {
		text += ", default " + plainNumber(axis.GetDefault())
	}
	return text
}

func metricNames(model *trellisv1.Model) string {
	var names []string
	for _, metric := range model.GetMetrics() {
		names = append(names, metric.GetName())
	}
	return strings.Join(names, ", ")
}

// ownAxes are the names of the axes that only the spec's model has, sorted. The spec has its defaults filled in.
func ownAxes(specs ...*trellisv1.StudySpec) []string {
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

// withOwnAxes returns the columns with one more for each of a model's own axes, behind weight_decay.
func withOwnAxes[T any](columns []column[T], names []string, parametersOf func(T) *trellisv1.Parameters) []column[T] {
	at := slices.IndexFunc(columns, func(c column[T]) bool { return c.name == "weight_decay" }) + 1
	var own []column[T]
	for _, name := range names {
		write := func(number func(float64) string) func(T) string {
			return func(item T) string {
				if value, ok := parametersOf(item).GetValues()[name]; ok {
					return number(value)
				}
				return ""
			}
		}
		own = append(own, column[T]{name, write(plainNumber), write(shortNumber)})
	}
	return slices.Insert(slices.Clone(columns), at, own...)
}
