package search

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 70, ModelsCommand) }

// ModelsCommand is trellis models.
func ModelsCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List the models that a spec can name",
		Long: `List the models that a spec can name.

AXES are additional axes of the model. They are given in the spec's grid like the common ones, and an axis without a
default is required. METRICS are reported for each epoch in addition to the losses.`,
		Args: cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.ListModels, &trellisv1.ListModelsRequest{})
			if err != nil {
				return err
			}
			list := output.NewList(env.Out, *format, "models", modelColumns)
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

var modelColumns = []output.Column[*trellisv1.Model]{
	output.Both("name", (*trellisv1.Model).GetName),
	output.Both("summary", (*trellisv1.Model).GetSummary).Yielding(output.Yield{Wrap: true}),
	{Name: "axes", Plain: axesIn("; "), Short: axesIn("\n"), Yield: output.Yield{Wrap: true}},
	{Name: "data", Plain: func(m *trellisv1.Model) string { return strconv.FormatBool(m.GetData()) }},
	output.Both("pretrained", func(m *trellisv1.Model) string { return strings.Join(m.GetPretrained(), ", ") }).
		Yielding(output.Yield{Wrap: true, Spare: 1}),
	output.Both("loss", (*trellisv1.Model).GetLoss).Yielding(output.Yield{Wrap: true, Spare: 2}),
	output.Both("metrics", metricNames).Yielding(output.Yield{Wrap: true, Spare: 3}),
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
	low, high := output.PlainNumber(axis.GetMinimum()), output.PlainNumber(axis.GetMaximum())
	text := axis.GetName() + ": "
	switch {
	case axis.GetKind() == trellisv1.Kind_KIND_TEXT:
		text += output.Alternatives(axis.GetTexts())
	case axis.GetExclusiveMinimum():
		text += "above " + low + ", at most " + high
	case axis.GetKind() == trellisv1.Kind_KIND_INTEGER && axis.GetMaximum()-axis.GetMinimum() == 1:
		text += low + " or " + high
	default:
		text += low + " to " + high
	}
	if axis.GetKind() == trellisv1.Kind_KIND_INTEGER && axis.GetMaximum()-axis.GetMinimum() > 1 {
		text += ", whole"
	}
	if axis.Default != nil {
		text += ", default " + describe.Value(axis.GetDefault(), output.PlainNumber)
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
