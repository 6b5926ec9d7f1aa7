package command

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) importanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "importance STUDY",
		Short: "Show how much each axis matters, and what each of its values does",
		Long: `Show how much each axis of a study's grid matters: which share of the objective's variation over the grid it
explains by itself, and with all interactions that it has a part in. Below, for each value of an axis, the mean of the
objective over all configurations with it, and the lowest.`,
		Example: `  trellis importance paper
  trellis importance paper -o csv`,
		Args: operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			response, err := call(ctx, callTimeout, c.GetImportance, &trellisv1.GetImportanceRequest{Study: args[0]})
			if err != nil {
				return err
			}
			_, bars := isTerminal(cli.stdout)
			return writeImportance(cli.stdout, *format, response.GetImportance(), bars)
		})
	}
	return cmd
}

// writeImportance writes how much axes matter; in a table with bars, if they are wanted.
func writeImportance(out io.Writer, format outputFormat, importance *trellisv1.Importance, bars bool) error {
	switch format {
	case formatTable:
		return writeImportanceTables(out, importance, bars)
	case formatCSV:
		// A row has one value of one axis.
		list := newListWriter(out, format, "", valueColumns)
		for _, effect := range importance.GetAxes() {
			for _, value := range effect.GetValues() {
				alone := &trellisv1.AxisEffect{
					Axis: effect.GetAxis(), Importance: effect.GetImportance(), Total: effect.GetTotal(),
					Values: []*trellisv1.ValueEffect{value},
				}
				if err := list.Add(alone); err != nil {
					return err
				}
			}
		}
		return list.Close("")
	default:
		return writeMessage(out, format, importance)
	}
}

type axisEffect = *trellisv1.AxisEffect

// valueColumns are those of an axis with one of its values.
var valueColumns = []column[axisEffect]{
	{"axis", axisEffect.GetAxis, nil},
	{"importance", func(e axisEffect) string { return plainNumber(e.GetImportance()) }, nil},
	{"total", func(e axisEffect) string { return plainNumber(e.GetTotal()) }, nil},
	{"value", func(e axisEffect) string { return plainNumber(e.GetValues()[0].GetValue()) }, nil},
	{"mean", func(e axisEffect) string { return plainNumber(e.GetValues()[0].GetMean()) }, nil},
	{"best", func(e axisEffect) string { return plainNumber(e.GetValues()[0].GetBest()) }, nil},
	{"configurations", func(e axisEffect) string { return strconv.FormatUint(e.GetValues()[0].GetConfigurations(), 10) }, nil},
}

// barWidth is how long a bar is at most, in characters.
const barWidth = 20

// bar draws a share of 1.
func bar(share float64) string {
	if math.IsNaN(share) {
		return ""
	}
	eighths := int(math.Round(min(max(share, 0), 1) * barWidth * 8))
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		// The blocks from one eighth up follow each other downwards in Unicode.
		text += string(rune('█' + 8 - rest))
	}
	return text
}

func writeImportanceTables(out io.Writer, importance *trellisv1.Importance, bars bool) error {
	shares := newTable()
	shares.AppendHeader([]any{"explains", "by itself", "with interactions", ""})
	drawn := func(share float64) string {
		if !bars {
			return ""
		}
		return bar(share)
	}
	for _, effect := range importance.GetAxes() {
		shares.AppendRow([]any{
			effect.GetAxis(), sharePercent(effect.GetImportance()), sharePercent(effect.GetTotal()),
			drawn(effect.GetImportance()),
		})
	}
	for _, pair := range importance.GetInteractions() {
		if sharePercent(pair.GetImportance()) == sharePercent(0) {
			continue
		}
		shares.AppendRow([]any{
			pair.GetFirst() + " x " + pair.GetSecond(), sharePercent(pair.GetImportance()), "",
			drawn(pair.GetImportance()),
		})
	}
	shares.AppendRow([]any{"the rest", sharePercent(importance.GetRest()), "", drawn(importance.GetRest())})
	if _, err := fmt.Fprintln(out, shares.Render()); err != nil {
		return err
	}
	for _, effect := range importance.GetAxes() {
		if _, err := fmt.Fprintf(out, "\n%s\n", valuesTable(effect, drawn)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\nOf %s: %s.\n", count(importance.GetConfigurations(), "configuration"), importance.GetMethod())
	return err
}

// valuesTable shows what each value of an axis does. The bar of the highest mean is as long as a bar can be.
func valuesTable(effect *trellisv1.AxisEffect, drawn func(float64) string) string {
	table := newTable()
	table.AppendHeader([]any{strings.ReplaceAll(effect.GetAxis(), "_", " "), "mean", "lowest", "configurations", ""})
	highest := 0.0
	for _, value := range effect.GetValues() {
		highest = math.Max(highest, value.GetMean())
	}
	for _, value := range effect.GetValues() {
		share := math.NaN()
		if highest > 0 {
			share = value.GetMean() / highest
		}
		table.AppendRow([]any{
			shortNumber(value.GetValue()), shortLoss(value.GetMean()), shortLoss(value.GetBest()),
			value.GetConfigurations(), drawn(share),
		})
	}
	return table.Render()
}

// sharePercent writes a share of 1 with a decimal: 12.3%.
func sharePercent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
