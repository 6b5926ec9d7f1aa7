package answer

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestDescribeAdvice(t *testing.T) {
	plain := &trellisv1.Study{Name: "s", Spec: &trellisv1.StudySpec{}}
	settling := &trellisv1.Study{Name: "s", Spec: &trellisv1.StudySpec{Settle: &trellisv1.Settle{MaxSeeds: 8}}}
	for _, test := range []struct {
		study  *trellisv1.Study
		advice *trellisv1.Advice
		want   string
	}{
		{plain, nil, ""},
		{
			plain,
			&trellisv1.Advice{Kind: trellisv1.Advice_KIND_ONE_SEED, AddSeeds: []uint32{2, 3}},
			"With one seed, a difference may be chance. Repeat every configuration with more seeds: trellis extend " +
				"s --seeds 2,3",
		},
		{
			settling,
			&trellisv1.Advice{Kind: trellisv1.Advice_KIND_SETTLING},
			"The coordinator adds seeds to the tied configurations until one is clearly the best or they have 8.",
		},
		{
			plain,
			&trellisv1.Advice{Kind: trellisv1.Advice_KIND_NOT_ENDED},
			"The study has not ended: this may change.",
		},
		{
			plain,
			&trellisv1.Advice{Kind: trellisv1.Advice_KIND_TOO_MANY_SEEDS, SeedsNeeded: 10_000, Beyond: true},
			"It would take more than 10000 seeds to separate them: they differ little compared with their variation " +
				"between seeds.",
		},
		{
			plain,
			&trellisv1.Advice{Kind: trellisv1.Advice_KIND_MORE_SEEDS, SeedsNeeded: 6, AddSeeds: []uint32{4, 5, 6}},
			"It would take about 6 seeds to separate them, if the differences stay as they are. Add seeds: trellis " +
				"extend s --seeds 4,5,6",
		},
		{
			settling,
			&trellisv1.Advice{Kind: trellisv1.Advice_KIND_MORE_SEEDS, SeedsNeeded: 12, AddSeeds: []uint32{9, 10}},
			"It would take about 12 seeds to separate them, if the differences stay as they are. Submit the spec " +
				"under another name with settle: {max_seeds: 12}: only what is new is trained.",
		},
	} {
		if got := describeAdvice(test.study, test.advice, true); got != test.want {
			t.Errorf("%v:\n got %s\nwant %s", test.advice, got, test.want)
		}
	}
}

// Commands that can't work are not advised: nothing can be added to a study that was canceled, or that ends with run.
func TestAdviceThatWorks(t *testing.T) {
	spec := &trellisv1.StudySpec{Seeds: trellisv1.AxisOf[int](1, 2, 3)}
	for name, test := range map[string]struct {
		state trellisv1.StudyState
		kept  bool
	}{
		"canceled": {trellisv1.StudyState_STUDY_STATE_CANCELED, true},
		"run":      {trellisv1.StudyState_STUDY_STATE_COMPLETED, false},
	} {
		study := &trellisv1.Study{Name: "s", Spec: spec, State: test.state}
		got := describeAdvice(study, &trellisv1.Advice{
			Kind: trellisv1.Advice_KIND_MORE_SEEDS, SeedsNeeded: 5, AddSeeds: []uint32{4, 5},
		}, test.kept)
		if want := "Add seeds: put seeds: [1, 2, 3, 4, 5] into the spec"; !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// No kind of advice and no reason is left without words.
func TestEverythingHasWords(t *testing.T) {
	study := &trellisv1.Study{Name: "s"}
	for kind := range trellisv1.Advice_Kind_name {
		got := describeAdvice(
			study,
			&trellisv1.Advice{Kind: trellisv1.Advice_Kind(kind), SeedsNeeded: 5, AddSeeds: []uint32{4, 5}},
			true,
		)
		if (got == "") != (kind == 0) {
			t.Errorf("%v: %q", trellisv1.Advice_Kind(kind), got)
		}
	}
	said := map[string]trellisv1.AxisChoice_Reason{}
	for number := range trellisv1.AxisChoice_Reason_name {
		reason := trellisv1.AxisChoice_Reason(number)
		got := describeChoice(&trellisv1.AxisChoice{
			Axis: "latent_dim", Values: trellisv1.AxisOf(4, 8).GetValues(), Best: trellisv1.IntegerValue(8),
			Below: trellisv1.IntegerValue(2), Above: trellisv1.IntegerValue(16), Total: 0.5, Epoch: 7,
			Reason: reason,
		}, nil)
		if before, twice := said[got]; twice {
			t.Errorf("%v and %v are both %q", before, reason, got)
		}
		said[got] = reason
	}
}

func TestDescribeSuggestion(t *testing.T) {
	got := describeSuggestion(&trellisv1.SuggestStudyResponse{Pruned: 1, Axes: []*trellisv1.AxisChoice{
		{
			Axis: "latent_dim", Values: trellisv1.AxisOf(6, 8, 10).GetValues(), Reason: trellisv1.AxisChoice_REASON_BETWEEN, Best: trellisv1.IntegerValue(8),
			Below: trellisv1.IntegerValue(4), Above: trellisv1.IntegerValue(12),
			Total: 0.5,
		},
		{Axis: "weight_decay", Values: trellisv1.AxisOf(0).GetValues(), Reason: trellisv1.AxisChoice_REASON_NEGLIGIBLE},
		{
			Axis:   "max_epochs",
			Values: trellisv1.AxisOf(20).GetValues(),
			Reason: trellisv1.AxisChoice_REASON_STOPS_EARLY,
			Best:   trellisv1.IntegerValue(20),
			Epoch:  1,
		},
		{
			Axis:   "max_epochs",
			Values: trellisv1.AxisOf(100, 150).GetValues(),
			Reason: trellisv1.AxisChoice_REASON_STILL_BETTER,
			Best:   trellisv1.IntegerValue(100),
			Epoch:  95,
		},
		{
			Axis:   "max_epochs",
			Values: trellisv1.AxisOf(10_000).GetValues(),
			Reason: trellisv1.AxisChoice_REASON_LARGEST_POSSIBLE,
			Best:   trellisv1.IntegerValue(10_000),
		},
		{
			Axis: "depth", Values: trellisv1.AxisOf(2, 3).GetValues(), Reason: trellisv1.AxisChoice_REASON_LARGEST_TRIED,
			Best: trellisv1.IntegerValue(3), Unfit: trellisv1.AxisOf(4).GetValues(), Total: 0.25,
		},
		{
			Axis: "kernel", Values: trellisv1.AxisOf(3).GetValues(), Reason: trellisv1.AxisChoice_REASON_UNFIT,
			Best: trellisv1.IntegerValue(3), Unfit: trellisv1.AxisOf(4, 5, 6, 7, 8, 9, 10).GetValues(), Total: 0.25,
		},
	}})
	want := []string{
		"latent_dim becomes 6, 8, 10: 8 was best, between 4 and 12; the axis and its interactions explain 50% of " +
			"the variation",
		"weight_decay stays at 0: the axis explains less than 1% of the variation",
		"max_epochs stays at 20: the best configuration stops early, after 1 epoch",
		"max_epochs grows to 150: the best configuration was still improving at epoch 95 of 100",
		"max_epochs stays at 10000: it is the largest possible value",
		"depth becomes 2, 3: 3 was best, the largest value tried; the axis and its interactions explain 25% of the variation; " +
			"without 4, with which not all networks fit the images",
		"kernel stays at 3: with 4, 5, 6, 7, 8 and 2 more, not all networks fit the images",
		"1 pruned configuration is left out, and it may be the best",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestDescribeMethod(t *testing.T) {
	for _, test := range []struct {
		importance *trellisv1.Importance
		want       string
	}{
		{
			&trellisv1.Importance{Configurations: 4, Exact: true, Logarithmic: true, Seeds: 1},
			"From 4 configurations: functional ANOVA of the logarithm of the objective, exact, because the " +
				"configurations are a full grid.",
		},
		{
			&trellisv1.Importance{
				Configurations: 3, Seeds: 2,
				Reasons: &trellisv1.Importance_LeftOut{Diverged: 2, Failed: 1, Pruned: 3, Canceled: 4, Open: 5},
				DivergedAt: []*trellisv1.Importance_AxisValue{
					{Axis: "learning_rate", Value: trellisv1.NumberValue(0.1)}, {Axis: "noise", Value: trellisv1.IntegerValue(2)},
				},
				UnansweredAxes: []string{"learning_rate"},
			},
			"From 3 configurations: functional ANOVA of the objective (mean of up to 2 seeds), by least squares " +
				"(axes first, then pairs), because the configurations are not a full grid.\nLeft out: 2 diverged " +
				"(all with learning_rate 0.1 and noise 2), 1 failed, 3 pruned, 4 canceled, 5 without a result " +
				"yet.\nOnly one value has results for learning_rate.",
		},
	} {
		if got := describeMethod(test.importance); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}
