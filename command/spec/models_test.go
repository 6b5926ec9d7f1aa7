package spec

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

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
			len(got.GetMetrics()) != len(want.Metrics) || int(got.GetHeight()) != want.Height ||
			int(got.GetWidth()) != want.Width || int(got.GetClasses()) != want.Classes {
			t.Errorf("got %v, want %+v", got, want)
			continue
		}
		for j, axis := range want.Axes {
			if got := got.GetAxes()[j]; !proto.Equal(got, &trellisv1.ModelAxis{
				Name: axis.Name, Summary: axis.Summary, Integer: axis.Integer, Minimum: axis.Minimum,
				Maximum:          axis.Maximum,
				ExclusiveMinimum: axis.ExclusiveMinimum, Default: axis.Default,
			}) {
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
