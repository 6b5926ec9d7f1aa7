//go:build !race

package grid

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestExpandAgainstNaive groups the points of plain loops by hand.
func TestExpandAgainstNaive(t *testing.T) {
	skipShort(t)
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		before := proto.CloneOf(spec)
		trials, runs, err := Expand(spec, newDataSet(), "1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(spec, before) {
			t.Fatal("expanding changed the spec")
		}

		var wantTrials []*trellisv1.Trial
		var wantRuns []*trellisv1.Run
		seen := map[string]bool{}
		byOthers := map[string]*trellisv1.Run{}
		for index, point := range naive(spec) {
			if seen[key(point)] {
				continue
			}
			seen[key(point)] = true
			others := proto.CloneOf(point)
			others.MaxEpochs = 0
			run := byOthers[key(others)]
			if run == nil {
				run = &trellisv1.Run{
					Study: "paper",
					Id: RunID(&trellisv1.RunConfig{
						Model: spec.Model, Parameters: others, DataSet: "d161", Numerics: "1",
						Split:         &trellisv1.Split{Train: 50_000, Validation: 10_000},
						EarlyStopping: &trellisv1.EarlyStopping{Patience: 10, MinDelta: 1e-5},
					}),
					Parameters: others,
					State:      trellisv1.RunState_RUN_STATE_PENDING,
					FirstTrial: uint64(index),
				}
				byOthers[key(others)] = run
				wantRuns = append(wantRuns, run)
			}
			run.Milestones = append(run.Milestones, point.MaxEpochs)
			wantTrials = append(wantTrials, &trellisv1.Trial{
				Study: "paper", Index: uint64(index), Parameters: point, Run: run.Id,
				State: trellisv1.TrialState_TRIAL_STATE_PENDING,
			})
		}
		for _, run := range wantRuns {
			slices.Sort(run.Milestones)
			run.Parameters.MaxEpochs = run.Milestones[len(run.Milestones)-1]
		}

		if len(trials) != len(wantTrials) || len(runs) != len(wantRuns) {
			t.Fatalf("%d trials, %d runs; want %d and %d", len(trials), len(runs), len(wantTrials), len(wantRuns))
		}
		for i, want := range wantTrials {
			if !proto.Equal(trials[i], want) {
				t.Fatalf("trial %d is\n%v\nwant\n%v", i, trials[i], want)
			}
		}
		study := &trellisv1.Study{Spec: spec, DataSet: newDataSet()}
		ids := map[string]bool{}
		for i, want := range wantRuns {
			if !proto.Equal(runs[i], want) {
				t.Fatalf("run %d is\n%v\nwant\n%v", i, runs[i], want)
			}
			if ids[want.Id] {
				t.Fatalf("two runs have the id %s", want.Id)
			}
			ids[want.Id] = true
			if got := RunID(RunConfigFor(study, runs[i], "1", runs[i].Parameters.MaxEpochs)); got != want.Id {
				t.Fatalf("what a worker is sent has the id %s, want %s", got, want.Id)
			}
		}
	})
}

func TestExpandPaper(t *testing.T) {
	trials, runs, err := Expand(newSpec(), newDataSet(), "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(trials) != 108 || len(runs) != 36 {
		t.Errorf("%d trials, %d runs; want 108 and 36", len(trials), len(runs))
	}
	if run := runs[1]; run.FirstTrial != 3 || !slices.Equal(run.Milestones, []uint32{50, 100, 150}) ||
		run.Parameters.MaxEpochs != 150 || run.Parameters.Numeric("weight_decay") != 1e-5 {
		t.Errorf("the second run is %v", run)
	}
	// Trials do not share what the store may keep apart.
	trials[0].Parameters.Seed = 99
	if trials[1].Parameters.Seed != 1 || runs[0].Parameters.Seed != 1 {
		t.Error("trials and runs share their parameters")
	}
}

func TestExpandSynthetic(t *testing.T) {
	spec := newSpec()
	spec.Model, spec.Data = synthetic, ""
	trials, runs, err := Expand(spec, nil, "1", nil)
	if err != nil || len(trials) != 108 || len(runs) != 36 {
		t.Fatalf("%d trials, %d runs, %v", len(trials), len(runs), err)
	}
	config := RunConfigFor(&trellisv1.Study{Spec: spec}, runs[0], "1", runs[0].Parameters.MaxEpochs)
	if config.DataSet != "" || config.Split != nil {
		t.Errorf("a synthetic run is sent %v", config)
	}
	if RunID(config) != runs[0].Id {
		t.Error("what a worker is sent has another id")
	}
	// Whoever names a data set all the same gets the same runs.
	_, same, err := Expand(spec, newDataSet(), "1", nil)
	if err != nil || same[0].Id != runs[0].Id {
		t.Errorf("with a data set, the first run is %v, %v", same[0], err)
	}
}

func BenchmarkExpand(b *testing.B) {
	for _, spec := range []struct {
		name string
		spec *trellisv1.StudySpec
	}{{"trials=108", newSpec()}, {"trials=750k/indices=1M", largeSpec()}, {"grids=100/indices=100k", unionSpec()}} {
		b.Run(spec.name, func(b *testing.B) {
			b.ReportAllocs()
			var trials []*trellisv1.Trial
			for b.Loop() {
				var err error
				if trials, _, err = Expand(spec.spec, newDataSet(), "1", nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(trials)), "ns/trial")
		})
	}
}
