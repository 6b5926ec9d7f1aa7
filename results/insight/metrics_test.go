package insight

import (
	"maps"
	"testing"
)

// TestMeanMetrics: a configuration has the means of those metrics that all its repetitions have.
func TestMeanMetrics(t *testing.T) {
	for _, test := range []struct {
		all  []map[string]float64
		want map[string]float64
	}{
		{nil, nil},
		{[]map[string]float64{nil, nil}, nil},
		{[]map[string]float64{{"a": 1, "b": 5}, {"a": 2}}, map[string]float64{"a": 1.5}},
		{[]map[string]float64{{"a": 1}, nil}, nil},
	} {
		if got := meanMetrics(test.all); !maps.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("of %v: got %v, want %v", test.all, got, test.want)
		}
	}
}
