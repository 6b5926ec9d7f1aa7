package answer

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// writeImportance writes how much axes matter; in a table with bars, if they are wanted.
func writeImportance(out io.Writer, format output.Format, importance *trellisv1.Importance, bars bool) error {
	switch format {
	case output.Table:
		return writeImportanceTables(out, importance, bars)
	case output.CSV:
		// A row has one value of one axis.
		list := output.NewList(out, format, "", valueColumns)
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
		return output.WriteMessage(out, format, importance)
	}
}

type axisEffect = *trellisv1.AxisEffect

// valueColumns are those of an axis with one of its values.
var valueColumns = []output.Column[axisEffect]{
	{Name: "axis", Plain: axisEffect.GetAxis},
	{Name: "importance", Plain: func(e axisEffect) string { return output.PlainNumber(e.GetImportance()) }},
	{Name: "total", Plain: func(e axisEffect) string { return output.PlainNumber(e.GetTotal()) }},
	{Name: "value", Plain: func(e axisEffect) string { return describe.Value(e.GetValues()[0].GetValue(), output.PlainNumber) }},
	{Name: "mean", Plain: func(e axisEffect) string { return output.PlainNumber(e.GetValues()[0].GetMean()) }},
	{Name: "best", Plain: func(e axisEffect) string { return output.PlainNumber(e.GetValues()[0].GetBest()) }},
	{
		Name: "configurations", Plain: func(e axisEffect) string {
			return strconv.FormatUint(e.GetValues()[0].GetConfigurations(), 10)
		},
	},
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
	shares := output.NewTable()
	shares.AppendHeader([]any{"axis", "alone", "with interactions", ""})
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
	shares.AppendRow([]any{"remainder", sharePercent(importance.GetRest()), "", drawn(importance.GetRest())})
	if _, err := fmt.Fprintln(out, shares.Render()); err != nil {
		return err
	}
	for _, effect := range importance.GetAxes() {
		if _, err := fmt.Fprintf(out, "\n%s\n", valuesTable(effect, describe.Extreme(importance.GetObjective()), drawn)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\n", describeMethod(importance))
	return err
}

// valuesTable shows what each value of an axis does. The bar of the highest mean is as long as a bar can be.
func valuesTable(effect *trellisv1.AxisEffect, extreme string, drawn func(float64) string) string {
	table := output.NewTable()
	table.AppendHeader([]any{strings.ReplaceAll(effect.GetAxis(), "_", " "), "mean", extreme, "configurations", ""})
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
			describe.Value(value.GetValue(), output.ShortNumber), output.ShortLoss(value.GetMean()), output.ShortLoss(value.GetBest()),
			value.GetConfigurations(), drawn(share),
		})
	}
	return table.Render()
}

// sharePercent writes a share of 1 with a decimal: 12.3%.
func sharePercent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
