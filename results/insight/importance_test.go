package insight

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// trainedTrial is a trial of a study to be: its run's losses by epoch. Fewer than max_epochs end in an early stop, none
// at all leave the run PENDING, or FAILED.
type trainedTrial struct {
	parameters *trellisv1.Parameters
	losses     []float64
	failed     bool
	// milestones are max_epochs alone if they are not given.
	milestones []uint32
}

// at1 is a configuration with the seed 1, that stopped early after one epoch with the given loss.
func at1(latentDim uint32, learningRate, weightDecay, loss float64) trainedTrial {
	return trainedTrial{
		parameters: &trellisv1.Parameters{MaxEpochs: 20, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": latentDim, "learning_rate": learningRate, "weight_decay": weightDecay, "batch_size": 256})},
		losses:     []float64{loss},
	}
}

// seeded is the same configuration with another seed.
func (p trainedTrial) seeded(seed uint32, losses ...float64) trainedTrial {
	p.parameters = proto.CloneOf(p.parameters)
	p.parameters.Seed, p.losses = seed, losses
	return p
}

// newTrainedStore has the study s, each of whose points has a run of its own.
func newTrainedStore(t testing.TB, spec *trellisv1.StudySpec, points ...trainedTrial) *studyStore {
	t.Helper()
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	var outcomes []outcome
	for i, point := range points {
		milestones := point.milestones
		if milestones == nil {
			milestones = []uint32{point.parameters.MaxEpochs}
		}
		run, its := pointRun(fmt.Sprint("run ", i), point.parameters, uint64(len(trials)), milestones...)
		runs, trials = append(runs, run), append(trials, its...)
		outcomes = append(outcomes, outcome{run: run.Id, losses: point.losses, failed: point.failed})
	}
	s := newStudyStore(t, &trellisv1.Study{Spec: spec, Indices: uint64(len(trials))}, runs, trials)
	s.train(outcomes)
	return s
}

func importanceOf(t testing.TB, points ...trainedTrial) *trellisv1.Importance {
	t.Helper()
	response, err := Importance(
		newTrainedStore(t, nil, points...).Snapshot(),
		&trellisv1.GetImportanceRequest{Study: "s"},
	)
	ok(t, err)
	return response.GetImportance()
}

// TestImportanceWithoutValues: what single values do is left out if a request says so, and nothing else is.
func TestImportanceWithoutValues(t *testing.T) {
	store := newTrainedStore(t, nil, at1(4, 1e-3, 0, 0.4), at1(8, 1e-3, 0, 0.2))
	whole, err := Importance(store.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s"})
	ok(t, err)
	got, err := Importance(store.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s", WithoutValues: true})
	ok(t, err)
	for _, axis := range whole.GetImportance().GetAxes() {
		if len(axis.Values) == 0 {
			t.Fatalf("%s has no values", axis.Axis)
		}
		axis.Values = nil
	}
	if !proto.Equal(got, whole) {
		t.Errorf("got %v, want %v", got, whole)
	}
}

// rounded takes the shares to thousandths.
func rounded(message *trellisv1.Importance) *trellisv1.Importance {
	round := func(share *float64) { *share = math.Round(*share*1000) / 1000 }
	round(&message.Rest)
	for _, axis := range message.Axes {
		round(&axis.Importance)
		round(&axis.Total)
		for _, value := range axis.Values {
			round(&value.Mean)
		}
	}
	for _, pair := range message.Interactions {
		round(&pair.Importance)
	}
	return message
}

// TestImportance: five times the logarithms are 11 5 / 3 1. Of their variance, the rows explain 9 parts of 14, the
// columns 4, and both together 1.
func TestImportance(t *testing.T) {
	objective := func(x float64) float64 { return math.Exp(x / 5) }
	got := importanceOf(t,
		at1(4, 1e-3, 0, objective(11)), at1(4, 1e-2, 0, objective(5)),
		at1(8, 1e-3, 0, objective(3)), at1(8, 1e-2, 0, objective(1)))
	point := func(latentDim uint32, learningRate float64) *trellisv1.Parameters {
		return &trellisv1.Parameters{MaxEpochs: 20, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": latentDim, "learning_rate": learningRate, "weight_decay": 0.0, "batch_size": 256})}
	}
	equal(t, "importance", rounded(got), &trellisv1.Importance{
		Axes: []*trellisv1.AxisEffect{
			{Axis: "latent_dim", Importance: 0.643, Total: 0.714, Values: []*trellisv1.ValueEffect{
				{Value: trellisv1.IntegerValue(4), Mean: 5.872, Best: objective(5), BestAt: point(4, 1e-2), Configurations: 2},
				{Value: trellisv1.IntegerValue(8), Mean: 1.522, Best: objective(1), BestAt: point(8, 1e-2), Configurations: 2},
			}},
			{Axis: "learning_rate", Importance: 0.286, Total: 0.357, Values: []*trellisv1.ValueEffect{
				{Value: trellisv1.NumberValue(1e-3), Mean: 5.424, Best: objective(3), BestAt: point(8, 1e-3), Configurations: 2},
				{Value: trellisv1.NumberValue(1e-2), Mean: 1.97, Best: objective(1), BestAt: point(8, 1e-2), Configurations: 2},
			}},
		},
		Interactions:   []*trellisv1.Interaction{{First: "latent_dim", Second: "learning_rate", Importance: 0.071}},
		Configurations: 4,
		Exact:          true,
		Logarithmic:    true,
		Seeds:          1,
		Reasons:        &trellisv1.Importance_LeftOut{},
	})
}

// TestImportanceOrder: the most important first.
func TestImportanceOrder(t *testing.T) {
	got := importanceOf(t, at1(4, 1e-3, 0, 1), at1(4, 1e-2, 0, 8), at1(8, 1e-3, 0, 2), at1(8, 1e-2, 0, 9))
	if got.Axes[0].Axis != "learning_rate" || got.Axes[1].Axis != "latent_dim" {
		t.Errorf("%v", got.Axes)
	}
}

// TestImportanceScale: where an objective has no logarithm, all are taken as they are.
func TestImportanceScale(t *testing.T) {
	got := importanceOf(t, at1(4, 1e-3, 0, -5), at1(4, 1e-2, 0, -3), at1(8, 1e-3, 0, -1), at1(8, 1e-2, 0, 5))
	if math.Abs(got.Axes[0].Importance-9.0/14) > 1e-9 || got.Logarithmic {
		t.Errorf("%v", got)
	}
}

// TestImportanceLeavesOut what can't be compared, and says so.
func TestImportanceLeavesOut(t *testing.T) {
	nan := math.NaN()
	pending, failed := at1(16, 1e-3, 0, 0), at1(16, 1e-2, 0, 0)
	pending.losses, failed.losses, failed.failed = nil, nil, true
	got := importanceOf(t,
		at1(4, 1e-3, 0, 1), at1(8, 1e-3, 0, 2), at1(4, 1e-1, 0, nan), at1(8, 1e-1, 0, nan), pending, failed,
		// A configuration is as good as the mean of its seeds; one that diverges spoils it.
		at1(4, 1e-2, 0, 2), at1(4, 1e-2, 0, 0).seeded(2, 4), at1(8, 1e-2, 0, 2), at1(8, 1e-2, 0, 0).seeded(2, nan),
	)
	if got.Configurations != 3 || got.LeftOut != 5 || got.Axes[0].Values[1].Mean != 3 {
		t.Errorf("%v", got)
	}
	equal(t, "left out", got.Reasons, &trellisv1.Importance_LeftOut{Diverged: 3, Failed: 1, Open: 1})
	if !got.Logarithmic || got.Exact || got.Seeds != 2 || len(got.DivergedAt) != 0 {
		t.Errorf("%v", got)
	}
	together := importanceOf(t, at1(4, 1e-3, 0, 1), at1(8, 1e-3, 0, 2), at1(4, 1e-1, 0, nan), at1(8, 1e-1, 0, nan))
	equal(t, "left out", together, &trellisv1.Importance{
		Axes: together.Axes, Configurations: 2, LeftOut: 2, Exact: true, Logarithmic: true, Seeds: 1,
		Reasons:        &trellisv1.Importance_LeftOut{Diverged: 2},
		DivergedAt:     []*trellisv1.Importance_AxisValue{{Axis: "learning_rate", Value: trellisv1.NumberValue(1e-1)}},
		UnansweredAxes: []string{"learning_rate"},
	})
}

// TestLeftOut: configurations without an answer are counted by why they have none.
func TestLeftOut(t *testing.T) {
	found := &survey{diverged: make([]point, 2), divergedTotal: 2, unanswered: map[trellisv1.TrialState]uint64{
		trellisv1.TrialState_TRIAL_STATE_FAILED: 1, trellisv1.TrialState_TRIAL_STATE_PRUNED: 3,
		trellisv1.TrialState_TRIAL_STATE_CANCELED: 4, trellisv1.TrialState_TRIAL_STATE_PENDING: 5,
		trellisv1.TrialState_TRIAL_STATE_RUNNING: 6,
	}}
	equal(
		t,
		"left out",
		found.leftOut(),
		&trellisv1.Importance_LeftOut{Diverged: 2, Failed: 1, Pruned: 3, Canceled: 4, Open: 11},
	)
	if got := found.leftOutTotal(); got != 21 {
		t.Errorf("%d in all", got)
	}
}

// TestImportanceOfNothing: all the same.
func TestImportanceOfNothing(t *testing.T) {
	got := importanceOf(t, at1(4, 1e-3, 0, 1), at1(8, 1e-3, 0, 1))
	if len(got.Axes) != 1 || got.Axes[0].Importance != 0 || got.Axes[0].Total != 0 || got.Rest != 0 {
		t.Errorf("%v", got)
	}
}

func TestImportanceInconclusive(t *testing.T) {
	open := at1(8, 1e-3, 0, 0)
	open.losses = nil
	for name, test := range map[string]struct {
		points []trainedTrial
		says   string
	}{
		"one configuration": {
			[]trainedTrial{at1(4, 1e-3, 0, 1), at1(4, 1e-3, 0, 0).seeded(2, 2)}, "every axis has a single value",
		},
		"one answer": {
			[]trainedTrial{at1(4, 1e-3, 0, 1), open}, "1 of 2 configurations have a finite objective",
		},
		"one number": {
			[]trainedTrial{at1(4, 1e-3, 0, 1), at1(8, 1e-3, 0, math.NaN())},
			"1 of 2 configurations have a finite objective",
		},
	} {
		store := newTrainedStore(t, nil, test.points...)
		_, err := Importance(store.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s"})
		if !errors.Is(err, results.ErrInconclusive) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	store := newTrainedStore(t, nil, at1(4, 1e-3, 0, 1))
	_, err := Importance(store.Snapshot(), &trellisv1.GetImportanceRequest{Study: "other"})
	if !errors.Is(err, results.ErrNotFound) {
		t.Errorf("no study: %v", err)
	}
}
