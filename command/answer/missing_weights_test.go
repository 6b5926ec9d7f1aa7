package answer

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestDescribeMissingWeights(t *testing.T) {
	reason := func(text string, trials uint64) *trellisv1.Report_MissingReason {
		return &trellisv1.Report_MissingReason{Reason: text, Trials: trials}
	}
	a, b, c, d := reason("no\nroom", 7), reason("late", 2), reason("gone", 1), reason("lost", 1)
	const again = "anew, submit the study under another name with --fresh"
	for _, test := range []struct {
		missing uint64
		reasons []*trellisv1.Report_MissingReason
		want    string
	}{
		{0, nil, ""},
		{1, []*trellisv1.Report_MissingReason{c}, "the weights of 1 trial could not be saved: gone. To train it " + again},
		{9, []*trellisv1.Report_MissingReason{a, b}, "the weights of 9 trials could not be saved: no room (7); late (2). To train them " + again},
		{
			11,
			[]*trellisv1.Report_MissingReason{a, b, c, d},
			"the weights of 11 trials could not be saved: no room (7); late (2); gone (1); and other reasons. To train them " + again,
		},
	} {
		report := &trellisv1.Report{WeightsMissing: test.missing, MissingReasons: test.reasons}
		if got := DescribeMissingWeights(report); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
