package describe

import (
	"math"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestDescribeEnd(t *testing.T) {
	const hour, day = 3600, 24 * 3600
	at := time.Date(2026, 11, 23, 23, 50, 0, 0, time.Local)
	for _, test := range []struct {
		name                string
		expected, low, high float64
		want, short         string
	}{
		{"minutes", 2820, 2520, 3500, "ends about 00:37, between 00:32 and 00:48", "00:37 (00:32-00:48)"},
		{"seconds", 90, 80, 100, "ends about 23:51:30, between 23:51:20 and 23:51:40", "23:51"},
		{"certain", hour, hour, hour, "ends about 00:50", "00:50"},
		{
			"days", 2 * day, day, 10 * day, "ends about Wed 23:50, between Tue 23:50 and 2026-12-03",
			"Wed 23:50 (Tue 23:50-2026-12-03)",
		},
		{"forever", math.Inf(1), math.Inf(1), math.Inf(1), "ends about 2319-03-05", "2319-03-05"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &trellisv1.Forecast{Seconds: &trellisv1.Estimate{
				Expected: test.expected, Low: test.low,
				High: test.high,
			}}
			if got := End(f, at); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := EndShortly(f, at); got != test.short {
				t.Errorf("shortly: got %q, want %q", got, test.short)
			}
		})
	}
	for _, unknown := range []*trellisv1.Forecast{nil, {}} {
		if got := End(unknown, at) + EndShortly(unknown, at); got != "" {
			t.Errorf("got %q of nothing", got)
		}
	}
}

func TestDescribeSharing(t *testing.T) {
	progress := &trellisv1.Progress{EpochsShared: 5400, SecondsShared: 2880}
	for want, from := range map[string]map[string]uint64{
		"5400 epochs from other studies, which took 48m0s there": nil,
		"5400 epochs from paper, which took 48m0s there":         {"paper": 5400},
		"5400 epochs from b, a and c, which took 48m0s there":    {"a": 5, "b": 6, "c": 5},
		"5400 epochs from b, a, c and 2 more, which took 48m0s there": {
			"a": 5, "b": 6, "c": 5, "d": 1,
			"e": 1,
		},
	} {
		if got := Sharing(progress, from); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Sharing(&trellisv1.Progress{Epochs: 10}, nil); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}
