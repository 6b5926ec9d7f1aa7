package listing

import (
	"slices"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestMetricFieldsKeepNames: a metric that is called like a field of all trials does not take its place.
func TestMetricFieldsKeepNames(t *testing.T) {
	all := WithMetrics([]string{"loss", "objective"}, modelFields)
	var names []string
	for _, field := range all[len(modelFields):] {
		names = append(names, field.Name)
	}
	if want := []string{"loss", "test_objective"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

// A program may report accuracy and test_accuracy: both can be named. A model's test_accuracy is its accuracy on the test
// images.
func TestMetricsThatAreCalledAsThoseOnTestImages(t *testing.T) {
	program := &trellisv1.Trial{Metrics: map[string]float64{"accuracy": 0.5, "test_accuracy": 0.25, "test_z": 1, "z": 2}}
	model := &trellisv1.Trial{
		Metrics: map[string]float64{"accuracy": 0.5}, TestMetrics: map[string]float64{"accuracy": 0.75, "z": 3},
	}
	for _, names := range [][]string{{"accuracy", "test_accuracy", "test_z", "z"}, {"z", "test_z", "test_accuracy", "accuracy"}} {
		for expression, want := range map[string][2]bool{
			"accuracy == 0.5":       {true, true},
			"test_accuracy == 0.25": {true, false},
			"test_accuracy == 0.75": {false, true},
			"test_z == 1.0":         {true, false},
			"test_z == 3.0":         {false, true},
			"z == 2.0":              {true, false},
		} {
			meets, err := NewFilter(expression, WithMetrics(names, modelFields))
			if err != nil {
				t.Fatal(err)
			}
			for i, trial := range []*trellisv1.Trial{program, model} {
				if got, err := meets(trial); err != nil || got != want[i] {
					t.Errorf("%v, %s of trial %d: %v, %v", names, expression, i, got, err)
				}
			}
		}
	}
}
