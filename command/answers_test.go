package command

import (
	"bytes"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// sampleConfiguration has been answered with the seeds 1 to n, with a mean that grows with its rank.
func sampleConfiguration(rank uint64, n uint32) *trellisv1.Configuration {
	mean := 0.01 + 0.0001*float64(rank-1)
	c := &trellisv1.Configuration{
		Parameters: &trellisv1.Parameters{
			LatentDim: uint32(4 * rank), LearningRate: 1e-3, WeightDecay: 1e-5, MaxEpochs: 50, BatchSize: 256,
		},
		Rank: rank, Mean: proto.Float64(mean), Contender: true, TestMean: proto.Float64(mean + 0.0005),
	}
	for seed := uint32(1); seed <= n; seed++ {
		c.Repetitions = append(c.Repetitions, &trellisv1.Repetition{Seed: seed, Trial: uint64(seed), Objective: mean})
	}
	if n > 1 {
		c.Deviation = proto.Float64(0.0002)
		c.Interval = &trellisv1.Interval{Low: mean - 0.00025, High: mean + 0.00025}
	}
	if rank > 1 {
		c.Difference = proto.Float64(mean - 0.01)
		c.DifferenceInterval = &trellisv1.Interval{Low: mean - 0.0105, High: mean - 0.0095}
	}
	return c
}

// sampleConfigurations are a good one, one that diverged with a seed, and one that has not been answered.
func sampleConfigurations() []*trellisv1.Configuration {
	diverged := sampleConfiguration(2, 1)
	diverged.Mean, diverged.Contender = proto.Float64(math.NaN()), false
	diverged.Difference, diverged.DifferenceInterval, diverged.TestMean = nil, nil, nil
	diverged.Repetitions[0].Objective = math.NaN()
	open := &trellisv1.Configuration{Parameters: sampleConfiguration(3, 1).GetParameters(), Rank: 3}
	return []*trellisv1.Configuration{sampleConfiguration(1, 3), diverged, open}
}

// sampleVerdict has so many contenders besides the best.
func sampleVerdict(contenders uint64, settled bool, advice string) *trellisv1.GetBestTrialResponse {
	study := sampleStudy()
	study.Progress.TrialsSucceeded, study.Progress.TrialsFailed = 3, 0
	verdict := &trellisv1.Verdict{
		Confidence: 0.95, Configurations: 36, Best: sampleConfiguration(1, 3), ContendersTotal: contenders, Seeds: 3,
		Settled: settled, Advice: advice,
	}
	for rank := uint64(2); rank <= min(contenders+1, 101); rank++ {
		verdict.Contenders = append(verdict.Contenders, sampleConfiguration(rank, 3))
	}
	return &trellisv1.GetBestTrialResponse{Trial: sampleTrials()[0], RunnerUp: sampleTrials()[1], Study: study, Verdict: verdict}
}

// What best says of studies with several seeds: each kind of verdict.
func TestGoldenVerdicts(t *testing.T) {
	const advice = "about 9 seeds would settle it, if the differences stayed as they are: `trellis extend sample --seeds 4,5,6`"
	running := sampleVerdict(2, false, "the study has not ended: more will be known then")
	running.Study.State = trellisv1.StudyState_STUDY_STATE_RUNNING
	running.Study.Progress.TrialsSucceeded = 2
	pruned := sampleVerdict(0, true, "")
	pruned.Study.Progress.Trials, pruned.Study.Progress.TrialsPruned = 5, 2
	early := sampleVerdict(0, false, "the study has not ended: more will be known then")
	early.Study.State = trellisv1.StudyState_STUDY_STATE_RUNNING
	diverged := sampleVerdict(0, true, "")
	diverged.Verdict.Best.Mean, diverged.Verdict.Best.Interval = proto.Float64(math.NaN()), nil
	untested := sampleBest()
	untested.Trial.TestLoss = nil
	untestedSeeds := sampleVerdict(0, true, "")
	untestedSeeds.Verdict.Best.TestMean = nil
	one := sampleBest()
	one.Verdict = &trellisv1.Verdict{
		Confidence: 0.95, Configurations: 2, Best: sampleConfiguration(1, 1), Seeds: 1,
		Advice: "with one seed, chance can't be told from a difference: repeat every configuration with more, by " +
			"`trellis extend sample --seeds 2,3,4,5`",
	}
	settling := sampleVerdict(1, false, "the coordinator gives the contenders more seeds by itself, until they part or have 8")
	settling.Study.State = trellisv1.StudyState_STUDY_STATE_RUNNING
	settling.Study.Spec.Settle = &trellisv1.Settle{Confidence: 0.95, MaxSeeds: 8}
	for name, best := range map[string]*trellisv1.GetBestTrialResponse{
		"settling":  settling,
		"clear":     sampleVerdict(0, true, ""),
		"near":      sampleVerdict(1, false, advice),
		"many":      sampleVerdict(150, false, advice),
		"same":      sampleVerdict(2, true, ""),
		"running":   running,
		"too_early": early,
		"pruned":    pruned,
		"diverged":  diverged,
		"one_seed":  one,
		"untested":  untested, "untested_seeds": untestedSeeds,
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := writeBest(&out, best); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata/output", "verdict_"+name+".table"), out.String())
		})
	}
}

// A best configuration is claimed only where the verdict has no other contender, is settled, and rests on several seeds.
func TestVerdictClaimsNoMore(t *testing.T) {
	const claim = "it is the best of the"
	for _, seeds := range []uint32{0, 1, 2, 5} {
		for _, contenders := range []uint64{0, 1, 200} {
			for _, settled := range []bool{false, true} {
				best := sampleVerdict(contenders, settled, "")
				best.Verdict.Seeds = seeds
				var out bytes.Buffer
				if err := writeBest(&out, best); err != nil {
					t.Fatal(err)
				}
				want := seeds > 1 && contenders == 0 && settled
				if got := strings.Contains(out.String(), claim); got != want {
					t.Errorf("%d seeds, %d contenders, settled %v: claimed is %v\n%s", seeds, contenders, settled, got, &out)
				}
			}
		}
	}
}

func sampleReport() *trellisv1.Report {
	study := sampleStudy()
	study.Progress.Trials = 108
	return &trellisv1.Report{
		Study: study, Digest: strings.Repeat("0123456789abcdef", 4),
		Trained: 30, Prefixes: 50, EarlyStopped: 4, Collapsed: 6, Shared: 8, Pruned: 5, Failed: 3, Canceled: 1, Open: 1,
		EpochsTrained: 4000, EpochsShared: 400, EpochsAlone: 9000, SecondsTrained: 3600, SecondsSaved: 4500,
		SharedFrom: map[string]uint64{"b": 50, "a": 50, "old": 299, "older": 1},
		Failures: []*trellisv1.Report_FailedRun{
			{
				Run: "0123456789abcdef", Parameters: sampleConfiguration(2, 1).GetParameters(), Trials: []uint64{3, 4},
				Error: "3 attempts failed in the trainer:\n  no memory",
			},
			{Run: "fedcba9876543210", Parameters: sampleConfiguration(3, 1).GetParameters(), Trials: []uint64{9}, Error: "hung"},
		},
		FailuresTotal: 102, Heuristic: "successive halving (ASHA)",
		Verdict: sampleVerdict(1, false, "").GetVerdict(),
	}
}

func sampleImportance() *trellisv1.Importance {
	value := func(value, mean, best float64) *trellisv1.ValueEffect {
		return &trellisv1.ValueEffect{
			Value: value, Mean: mean, Best: best, BestAt: sampleConfiguration(1, 1).GetParameters(), Configurations: 6,
		}
	}
	return &trellisv1.Importance{
		Axes: []*trellisv1.AxisEffect{
			{Axis: "learning_rate", Importance: 0.8125, Total: 0.84, Values: []*trellisv1.ValueEffect{
				value(1e-4, 0.02, 0.018), value(1e-3, 0.0125, 0.011),
			}},
			{Axis: "latent_dim", Importance: 0.1, Total: 0.12, Values: []*trellisv1.ValueEffect{
				value(4, 0.018, 0.013), value(16, 0.0145, 0.011),
			}},
		},
		Interactions: []*trellisv1.Interaction{
			{First: "latent_dim", Second: "learning_rate", Importance: 0.02},
			{First: "latent_dim", Second: "max_epochs", Importance: 1e-9},
		},
		Rest: 0.0675, Configurations: 12, LeftOut: 1, Method: "functional ANOVA of the objective; left out: 1 failed",
	}
}

// The answers beyond trials, in each format.
func TestGoldenAnswers(t *testing.T) {
	for name, write := range map[string]func(outputFormat, *bytes.Buffer) error{
		"configurations": func(format outputFormat, out *bytes.Buffer) error {
			list := newListWriter(out, format, "configurations", configurationColumns)
			for _, c := range sampleConfigurations() {
				if err := list.Add(c); err != nil {
					return err
				}
			}
			return list.Close("")
		},
		"report": func(format outputFormat, out *bytes.Buffer) error {
			if format == formatTable {
				return writeReport(out, sampleReport())
			}
			return writeOne(out, format, sampleReport(), reportColumns)
		},
		"summary": func(format outputFormat, out *bytes.Buffer) error {
			if format == formatTable {
				return writeSummary(out, sampleReport())
			}
			return writeOne(out, format, &trellisv1.Report{Study: sampleStudy()}, reportColumns)
		},
		"importance": func(format outputFormat, out *bytes.Buffer) error {
			return writeImportance(out, format, sampleImportance(), true)
		},
	} {
		checkListing(t, name, func(format string, out *bytes.Buffer) error { return write(outputFormat(format), out) })
	}
}

func TestBar(t *testing.T) {
	for share, want := range map[float64]string{
		0: "", 1: strings.Repeat("█", barWidth), 2: strings.Repeat("█", barWidth), -1: "", math.NaN(): "", 0.5: strings.Repeat("█", 10),
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
			Grid: []*trellisv1.Grid{{
				LatentDim:    &trellisv1.IntegerAxis{Values: []uint32{8, 16}},
				LearningRate: &trellisv1.NumberAxis{Values: []float64{1e-3}},
				WeightDecay:  &trellisv1.NumberAxis{Values: []float64{0}},
				MaxEpochs:    &trellisv1.IntegerAxis{Values: []uint32{4}},
			}},
			Seeds:     &trellisv1.IntegerAxis{Values: []uint32{1, 2}},
			BatchSize: &trellisv1.IntegerAxis{Values: []uint32{256}},
			Settle:    &trellisv1.Settle{MaxSeeds: 8},
		},
		Progress: &trellisv1.Progress{Trials: 4},
	}
	if got := describeSettling(study); got != "" {
		t.Errorf("before settle has added any: %q", got)
	}
	study.Progress.Trials = 7
	if got, want := describeSettling(study), "; 3 of them with a seed that settle has added"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	study.Spec.Settle = nil
	if got := describeSettling(study); got != "" {
		t.Errorf("without settle: %q", got)
	}
}
