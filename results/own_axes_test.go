package results

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// noisySpec is a search on axes of its model.
func noisySpec(noise, fineTune []float64) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: "s", Model: "noisy", Seeds: trellisv1.AxisOf[int](1, 2),
		Grid: []*trellisv1.Grid{{
			Axes: map[string]*trellisv1.Axis{
				"noise": trellisv1.AxisOf(noise...), "fine_tune": trellisv1.AxisOf(fineTune...),
			},
		}},
	}
}

// newNoisyStore trains the spec's grid with two seeds for two epochs, each of which ends a trial: at loss(noise, fine
// tune) plus a thousandth for the second seed and, after the first epoch, one more.
func newNoisyStore(t testing.TB, spec *trellisv1.StudySpec, loss func(noise, fineTune float64) float64) *Store {
	t.Helper()
	store := newStore(t)
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	axes := spec.GetGrid()[0].GetAxes()
	for _, fineTune := range axes["fine_tune"].GetValues() {
		for _, noise := range axes["noise"].GetValues() {
			for _, seed := range []uint32{1, 2} {
				run, its := testRun(fmt.Sprintf("noise-%v-fine-%v-seed-%d", noise.Written(), fineTune.Written(), seed), 8,
					uint64(len(trials)), 1, 2)
				for _, p := range []*trellisv1.Parameters{run.Parameters, its[0].Parameters, its[1].Parameters} {
					p.Seed, p.Values = seed, map[string]*trellisv1.Value{"noise": noise, "fine_tune": fineTune}
				}
				runs, trials = append(runs, run), append(trials, its...)
			}
		}
	}
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s", Spec: spec, Indices: uint64(len(trials))}, runs,
		trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1000}))
	for i, run := range runs {
		index, p := uint64(3+2*i), run.Parameters
		attempt := grant1(t, store, index, "s", run.Id, "w")
		last := loss(p.Numeric("noise"), p.Numeric("fine_tune")) + float64(p.Seed-1)/1000
		losses := []float64{last + 1, last}
		record(t, store, index+1, columnEntry("s", run.Id, attempt, 1, losses, losses, nil),
			successEntry("s", run.Id, attempt, 2))
	}
	return store
}

func TestListTrialsByOwnAxes(t *testing.T) {
	store := newNoisyStore(t, noisySpec([]float64{0.5, 0.25, 1}, []float64{0, 1}),
		func(noise, fineTune float64) float64 { return noise + fineTune })
	list := func(orderBy, filter string) ([]string, error) {
		response, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
			Study: "s", OrderBy: orderBy,
			Filter: filter,
		})
		var texts []string
		for _, trial := range response.GetTrials() {
			values := trial.Parameters.Values
			texts = append(texts, fmt.Sprint(values["noise"].GetNumber(), values["fine_tune"].GetNumber(), trial.Parameters.MaxEpochs))
		}
		return texts, err
	}
	for _, test := range []struct {
		orderBy, filter string
		want            []string
	}{
		{"noise", "fine_tune == 1 && max_epochs == 2 && seed == 1", []string{"0.25 1 2", "0.5 1 2", "1 1 2"}},
		{
			"-noise", "fine_tune == 0.0 && seed == 2 && noise < 0.75",
			[]string{"0.5 0 1", "0.5 0 2", "0.25 0 1", "0.25 0 2"},
		},
		{"", "noise > 100", nil},
	} {
		got, err := list(test.orderBy, test.filter)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("by %q, where %q: %q, %v; want %q", test.orderBy, test.filter, got, err, test.want)
		}
	}
	_, err := list("blur", "")
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "max_epochs, seed, fine_tune, noise") {
		t.Errorf("by an axis that the study does not have: %v", err)
	}
	if _, err := list("", "blur > 1"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "blur") {
		t.Errorf("where an axis that the study does not have: %v", err)
	}
	// Another study has no such axes, before and after.
	plain := newListStore(t)
	if _, err := plain.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
		Study:  "s",
		Filter: "noise > 1",
	}); !errors.Is(err, ErrInvalid) {
		t.Errorf("where an axis of another study: %v", err)
	}
}

// TestOwnAxesAreKept when the store is written and read, and in every trial of a run.
func TestOwnAxesAreKept(t *testing.T) {
	store := newNoisyStore(t, noisySpec([]float64{0.5, 0.25}, []float64{1}),
		func(noise, _ float64) float64 { return noise })
	var data bytes.Buffer
	_, err := store.Snapshot().WriteTo(&data)
	ok(t, err)
	restored := newStore(t)
	ok(t, restored.Restore(&data))
	before, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s"})
	ok(t, err)
	after, err := restored.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s"})
	ok(t, err)
	if len(before.Trials) != 8 || !proto.Equal(before, after) {
		t.Errorf("read %v, wrote %v", after, before)
	}
	for i, trial := range before.Trials {
		if want := []float64{0.5, 0.25}[i/4]; trial.Parameters.Numeric("noise") != want ||
			trial.Parameters.Numeric("fine_tune") != 1 {
			t.Errorf("trial %d has %v, want noise %v", i, trial, want)
		}
	}
}
