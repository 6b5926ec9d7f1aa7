package answer

import (
	"bytes"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"trellis/command/describe"
	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// What best says of studies with several seeds: each kind of verdict.
func TestGoldenVerdicts(t *testing.T) {
	advice := &trellisv1.Advice{Kind: trellisv1.Advice_KIND_MORE_SEEDS, SeedsNeeded: 6, AddSeeds: []uint32{4, 5, 6}}
	wait := &trellisv1.Advice{Kind: trellisv1.Advice_KIND_NOT_ENDED}
	running := sampleVerdict(2, false, wait)
	running.Study.State = trellisv1.StudyState_STUDY_STATE_RUNNING
	running.Study.Progress.TrialsSucceeded = 2
	pruned := sampleVerdict(0, true, nil)
	pruned.Study.Progress.Trials, pruned.Study.Progress.TrialsPruned = 5, 2
	early := sampleVerdict(0, false, wait)
	early.Study.State = trellisv1.StudyState_STUDY_STATE_RUNNING
	diverged := sampleVerdict(0, true, nil)
	diverged.Verdict.Best = nil
	allDiverged := sampleBest()
	allDiverged.Trial.State, allDiverged.Trial.Objective = trellisv1.TrialState_TRIAL_STATE_DIVERGED, proto.Float64(math.NaN())
	allDiverged.Trial.BestEpoch, allDiverged.RunnerUp = 0, nil
	allDiverged.Study.Progress.TrialsSucceeded, allDiverged.Study.Progress.TrialsDiverged = 0, 2
	untested := sampleBest()
	untested.Trial.TestLoss = nil
	untestedSeeds := sampleVerdict(0, true, nil)
	untestedSeeds.Verdict.Best.TestMean = nil
	one := sampleBest()
	one.Verdict = &trellisv1.Verdict{
		Confidence: 0.95, Configurations: 2, Best: sampleConfiguration(1, 1), Seeds: 1,
		Advice: &trellisv1.Advice{Kind: trellisv1.Advice_KIND_ONE_SEED, AddSeeds: []uint32{2, 3, 4, 5}},
	}
	settling := sampleVerdict(1, false, &trellisv1.Advice{Kind: trellisv1.Advice_KIND_SETTLING})
	settling.Study.State = trellisv1.StudyState_STUDY_STATE_RUNNING
	settling.Study.Spec.Settle = &trellisv1.Settle{Confidence: 0.95, MaxSeeds: 8}
	for name, best := range map[string]*trellisv1.GetBestTrialResponse{
		"settling":  settling,
		"clear":     sampleVerdict(0, true, nil),
		"near":      sampleVerdict(1, false, advice),
		"many":      sampleVerdict(150, false, advice),
		"same":      sampleVerdict(2, true, nil),
		"running":   running,
		"too_early": early,
		"pruned":    pruned,
		"diverged":  diverged, "all_diverged": allDiverged,
		"one_seed": one,
		"untested": untested, "untested_seeds": untestedSeeds,
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := WriteBest(&out, best); err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata/output", "verdict_"+name+".table"), out.String())
		})
	}
}

// A best configuration is claimed only where the verdict has no other contender, is settled, and rests on several
// seeds.
func TestVerdictClaimsNoMore(t *testing.T) {
	const claim = "it is the best of the"
	for _, seeds := range []uint32{0, 1, 2, 5} {
		for _, contenders := range []uint64{0, 1, 200} {
			for _, settled := range []bool{false, true} {
				best := sampleVerdict(contenders, settled, nil)
				best.Verdict.Seeds = seeds
				var out bytes.Buffer
				if err := WriteBest(&out, best); err != nil {
					t.Fatal(err)
				}
				want := seeds > 1 && contenders == 0 && settled
				if got := strings.Contains(out.String(), claim); got != want {
					t.Errorf("%d seeds, %d contenders, settled %v: claimed is %v\n%s", seeds, contenders, settled, got,
						&out)
				}
			}
		}
	}
}

// The answers beyond trials, in each format.
func TestGoldenAnswers(t *testing.T) {
	for name, write := range map[string]func(output.Format, *bytes.Buffer) error{
		"configurations": func(format output.Format, out *bytes.Buffer) error {
			list := output.NewList(out, format, "configurations", configurationColumns(commonNames))
			for _, c := range sampleConfigurations() {
				if err := list.Add(c); err != nil {
					return err
				}
			}
			return list.Close("")
		},
		"report": func(format output.Format, out *bytes.Buffer) error {
			if format == output.Table {
				return writeReport(out, sampleReport())
			}
			return output.WriteOne(out, format, sampleReport(), reportColumns)
		},
		"summary": func(format output.Format, out *bytes.Buffer) error {
			if format == output.Table {
				return writeSummaryOf(out, sampleReport(), true)
			}
			return output.WriteOne(out, format, &trellisv1.Report{Study: fake.Study()}, reportColumns)
		},
		"importance": func(format output.Format, out *bytes.Buffer) error {
			return writeImportance(out, format, sampleImportance(), true)
		},
	} {
		golden.CheckListing(t, name, func(format string, out *bytes.Buffer) error {
			return write(output.Format(format), out)
		})
	}
}

func TestBar(t *testing.T) {
	for share, want := range map[float64]string{
		0: "", 1: strings.Repeat("█", barWidth), 2: strings.Repeat("█", barWidth), -1: "", math.NaN(): "",
		0.5:   strings.Repeat("█", 10),
		0.525: strings.Repeat("█", 10) + "▌", 1.0 / 160: "▏",
	} {
		if got := bar(share); got != want {
			t.Errorf("bar(%v) = %q, want %q", share, got, want)
		}
	}
}

// A study that settles has more trials than its spec asks for.
func TestDescribeSettling(t *testing.T) {
	study := &trellisv1.Study{
		Spec: &trellisv1.StudySpec{
			Model: "synthetic",
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim":    trellisv1.AxisOf[int](8, 16),
				"learning_rate": trellisv1.AxisOf[float64](1e-3),
				"weight_decay":  trellisv1.AxisOf[float64](0),
				"max_epochs":    trellisv1.AxisOf[int](4),
			}}},
			Seeds:  trellisv1.AxisOf(1, 2),
			Settle: &trellisv1.Settle{MaxSeeds: 8},
		},
		Progress: &trellisv1.Progress{Trials: 4},
	}
	if got := describeSettling(study); got != "" {
		t.Errorf("before settle has added any: %q", got)
	}
	study.Progress.Trials = 7
	if got, want := describeSettling(study), " (3 with a seed added by settle)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	study.Spec.Settle = nil
	if got := describeSettling(study); got != "" {
		t.Errorf("without settle: %q", got)
	}
}

// Each listing in each format, and that programs can read what is for them.
func TestGoldenOutput(t *testing.T) {
	t.Setenv("TZ", "UTC")
	empty := func(format output.Format, out *bytes.Buffer) error {
		return output.NewList(out, format, "trials", TrialColumns(commonNames)).Close("No trial meets the condition.")
	}
	trials := func(format output.Format, out *bytes.Buffer) error {
		columns := TrialColumns(commonNames)
		if format == output.CSV {
			columns = append(columns[:len(columns):len(columns)], lossColumns...)
		}
		list := NewTrialList(out, format, columns)
		for _, trial := range fake.Trials() {
			if err := list.Add(trial); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	metrics := func(format output.Format, out *bytes.Buffer) error {
		list := NewTrialList(out, format, TrialColumns(commonNames))
		for _, trial := range fake.MeasuredTrials() {
			if err := list.Add(trial); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	measured := func(format output.Format, out *bytes.Buffer) error {
		best := sampleBest()
		best.Trial = fake.MeasuredTrials()[2]
		if format == output.CSV {
			return output.WriteOne(out, format, best.GetTrial(), withMetrics(TrialColumns(commonNames), metricsOf(best.GetTrial())))
		}
		if format == output.Table {
			return WriteBest(out, best)
		}
		return output.WriteMessage(out, format, best)
	}
	best := func(format output.Format, out *bytes.Buffer) error {
		switch format {
		case output.Table:
			return WriteBest(out, sampleBest())
		case output.CSV:
			return output.WriteOne(out, format, sampleBest().GetTrial(), TrialColumns(commonNames))
		default:
			return output.WriteMessage(out, format, sampleBest())
		}
	}
	noisy := func(format output.Format, out *bytes.Buffer) error {
		list := NewTrialList(out, format, TrialColumns(noisyNames))
		for _, trial := range fake.NoisyTrials() {
			if err := list.Add(trial); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	noisyBest := func(format output.Format, out *bytes.Buffer) error {
		best := sampleBest()
		best.Trial, best.RunnerUp = fake.NoisyTrials()[0], fake.NoisyTrials()[1]
		switch format {
		case output.Table:
			return WriteBest(out, best)
		case output.CSV:
			return output.WriteOne(out, format, best.GetTrial(),
				TrialColumns(noisyNames))
		default:
			return output.WriteMessage(out, format, best)
		}
	}
	noisyConfigurations := func(format output.Format, out *bytes.Buffer) error {
		list := output.NewList(out, format, "configurations",
			configurationColumns(noisyNames))
		for i, trial := range fake.NoisyTrials() {
			trial.Parameters.Seed = 0
			if err := list.Add(&trellisv1.Configuration{
				Rank:       proto.Uint64(uint64(i + 1)),
				Parameters: trial.Parameters,
			}); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	measuredConfigurations := func(format output.Format, out *bytes.Buffer) error {
		list := &configurationList{out: out, format: format, columns: configurationColumns(commonNames)}
		for _, c := range sampleConfigurations() {
			if len(c.GetRepetitions()) > 1 {
				c.Metrics, c.TestMetrics = map[string]float64{"accuracy": 0.984375},
					map[string]float64{"accuracy": 0.96875}
			}
			if err := list.Add(c); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	golden.CheckListing(t, "none", func(format string, out *bytes.Buffer) error {
		return empty(output.Format(format), out)
	})
	golden.CheckListing(t, "trials", func(format string, out *bytes.Buffer) error {
		return trials(output.Format(format), out)
	})
	golden.CheckListing(t, "trials_with_metrics",
		func(format string, out *bytes.Buffer) error { return metrics(output.Format(format), out) })
	golden.CheckListing(t, "best_with_metrics",
		func(format string, out *bytes.Buffer) error { return measured(output.Format(format), out) })
	golden.CheckListing(t, "best", func(format string, out *bytes.Buffer) error {
		return best(output.Format(format), out)
	})
	golden.CheckListing(t, "trials_with_own_axes",
		func(format string, out *bytes.Buffer) error { return noisy(output.Format(format), out) })
	golden.CheckListing(t, "best_with_own_axes",
		func(format string, out *bytes.Buffer) error { return noisyBest(output.Format(format), out) })
	golden.CheckListing(t, "configurations_with_own_axes",
		func(format string, out *bytes.Buffer) error { return noisyConfigurations(output.Format(format), out) })
	golden.CheckListing(t, "configurations_with_metrics", func(format string, out *bytes.Buffer) error {
		return measuredConfigurations(output.Format(format), out)
	})
}

func TestLead(t *testing.T) {
	second := func(objective float64) *trellisv1.Trial {
		return &trellisv1.Trial{
			Index: 7, Objective: &objective, Parameters: &trellisv1.Parameters{MaxEpochs: 10, Values: trellisv1.ValuesOf(map[string]any{
				"latent_dim": 4, "learning_rate": 0.0, "weight_decay": 0.0,
			})},
		}
	}
	const who = "trial 7 (latent 4, learning rate 0, weight decay 0, maximum epochs 10)"
	for _, test := range []struct {
		name       string
		loss, next float64
		want       string
	}{
		{"by a tenth", 0.01, 0.011, who + ": higher by 0.001000 (10.00%)"},
		{"tie", 0.01, 0.01, who + ": same loss, ranked lower because it is larger or longer"},
		{"next diverged", 0.01, math.NaN(), who + ": loss NaN"},
		{"both diverged", math.NaN(), math.NaN(), who + ": loss NaN"},
		{"loss of zero", 0, 0.5, who + ": loss 0.500000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := lead(describe.Objective{}, test.loss, second(test.next), describe.Axes{}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// commonNames are the parameters of all models, and noisyNames those of one with axes of its own.
var (
	commonNames = []string{"latent_dim", "learning_rate", "weight_decay", "max_epochs", "batch_size"}
	noisyNames  = []string{
		"latent_dim", "learning_rate", "weight_decay", "divergence_weight", "noise", "max_epochs", "batch_size",
	}
)
