package spec

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// TestKnownModels: all that the trainer says of its models is passed on, and a coordinator takes them.
func TestKnownModels(t *testing.T) {
	models, described := Models(), trainer.Models()
	if err := models.Check(); err != nil {
		t.Error(err)
	}
	if len(models) != len(described) || len(models) < 2 {
		t.Fatalf("%d models, %d described", len(models), len(described))
	}
	for i, want := range described {
		got := models[i]
		if got.GetName() != want.Name || got.GetSummary() != want.Summary || got.GetData() != want.Data ||
			got.GetLoss() != want.Loss ||
			strings.Join(got.GetPretrained(), " ") != strings.Join(want.Pretrained, " ") ||
			len(got.GetAxes()) != len(want.Axes) ||
			len(got.GetMetrics()) != len(want.Metrics) || int(got.GetMinSide()) != want.MinSide ||
			int(got.GetMaxSide()) != want.MaxSide || int(got.GetMaxChannels()) != want.MaxChannels || int(got.GetClasses()) != want.Classes {
			t.Errorf("got %v, want %+v", got, want)
			continue
		}
		for j, axis := range want.Axes {
			kind := trellisv1.Kind_KIND_NUMBER
			switch axis.Kind {
			case trainer.Integer:
				kind = trellisv1.Kind_KIND_INTEGER
			case trainer.Text:
				kind = trellisv1.Kind_KIND_TEXT
			}
			got := got.GetAxes()[j]
			if got.GetName() != axis.Name || got.GetSummary() != axis.Summary || got.GetMinimum() != axis.Minimum ||
				got.GetMaximum() != axis.Maximum || got.GetExclusiveMinimum() != axis.ExclusiveMinimum ||
				got.GetKind() != kind || got.GetCommon() != axis.Common || (got.Default == nil) != (axis.Default == nil) ||
				got.GetEncoder() != axis.Encoder || got.GetSizes() != (axis.Size != trainer.SizeSame) ||
				got.GetGrows() != (axis.Size == trainer.SizeGrows) ||
				got.GetSameLayers() != (axis.Size == trainer.SameLayers) || !slices.Equal(got.GetTexts(), axis.Texts) ||
				axis.Default != nil && got.GetDefault().Written() != written(axis) {
				t.Errorf("got %v, want %+v", got, axis)
			}
		}
		for j, metric := range want.Metrics {
			if got := got.GetMetrics()[j]; got.GetName() != metric.Name || got.GetSummary() != metric.Summary {
				t.Errorf("got %v, want %+v", got, metric)
			}
		}
	}
}

// written is an axis's default as specs have it.
func written(axis trainer.Axis) string {
	if axis.Kind == trainer.Text {
		return axis.Texts[int(*axis.Default)]
	}
	return strconv.FormatFloat(*axis.Default, 'g', -1, 64)
}
