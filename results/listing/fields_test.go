package listing

import (
	"slices"
	"testing"
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
