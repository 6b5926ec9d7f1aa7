package spec

import (
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
			int(got.GetMaxSide()) != want.MaxSide || int(got.GetMaxChannels()) != want.MaxChannels || int(got.GetClasses()) != want.Classes ||
			int(got.GetMaxWeights()) != want.MaxWeights || int(got.GetFeatureChannels()) != want.FeatureChannels ||
			int(got.GetFeatureScale()) != want.FeatureScale {
			t.Errorf("got %v, want %+v", got, want)
			continue
		}
		for j, axis := range want.Axes {
			kind := trellisv1.Kind_KIND_NUMBER
			if axis.Kind == trainer.Integer {
				kind = trellisv1.Kind_KIND_INTEGER
			}
			got := got.GetAxes()[j]
			if got.GetName() != axis.Name || got.GetSummary() != axis.Summary || got.GetMinimum() != axis.Minimum ||
				got.GetMaximum() != axis.Maximum || got.GetExclusiveMinimum() != axis.ExclusiveMinimum ||
				got.GetKind() != kind || got.GetCommon() != axis.Common || (got.Default == nil) != (axis.Default == nil) ||
				axis.Default != nil && got.GetDefault().Written() != strconv.FormatFloat(*axis.Default, 'g', -1, 64) {
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
