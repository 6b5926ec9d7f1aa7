package insight

import (
	"context"
	"fmt"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/objective"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// mirrored is a study of a program in a store of its own, with values of the metric x by run and epoch; NaN stands for
// none.
type mirrored struct {
	*studyStore
	// sign is that of the metric.
	sign float64
}

func newMirrored(t testing.TB, spec *trellisv1.StudySpec, sign float64) *mirrored {
	spec = proto.CloneOf(spec)
	if spec.Objective.Direction = trellisv1.Direction_DIRECTION_MAXIMIZE; sign < 0 {
		spec.Objective.Direction = trellisv1.Direction_DIRECTION_MINIMIZE
	}
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	var milestones []uint32
	for _, epochs := range spec.Grid[0].Axes["max_epochs"].GetValues() {
		milestones = append(milestones, uint32(epochs.GetInteger()))
	}
	for _, latent := range spec.Grid[0].Axes["latent_dim"].GetValues() {
		for _, rate := range spec.Grid[0].Axes["learning_rate"].GetValues() {
			for _, seed := range spec.Seeds.GetValues() {
				run, its := pointRun(fmt.Sprintf("%s-%s-%s", latent.Written(), rate.Written(), seed.Written()), &trellisv1.Parameters{
					Seed: uint32(seed.GetInteger()), Values: map[string]*trellisv1.Value{
						"latent_dim": latent, "learning_rate": rate, "batch_size": trellisv1.IntegerValue(256),
					},
				}, uint64(len(trials)), milestones...)
				runs, trials = append(runs, run), append(trials, its...)
			}
		}
	}
	return &mirrored{newStudyStore(t, &trellisv1.Study{Spec: spec}, runs, trials), sign}
}

// report trains a run to the end of its stage, or to where its values end.
func (m *mirrored) report(run *trellisv1.Run, values []float64) {
	m.Helper()
	study, err := m.Snapshot().Study(nil, "s")
	ok(m, err)
	until := min(int(pruning.Stage(study, run)), len(values))
	granted := m.next()
	for _, err := range m.Grant(granted, m.now(), []*trellisv1.Grant{{Study: "s", Run: run.Id, Worker: "w"}}) {
		ok(m, err)
	}
	count := until - int(run.Epochs)
	series := &trellisv1.Series{Values: make([]float64, count)}
	for i, value := range values[run.Epochs:until] {
		if math.IsNaN(value) {
			series.Missing = append(series.Missing, uint32(i))
			continue
		}
		series.Values[i] = m.sign*value + 0 // Of 0, 0.
	}
	attempt := results.AttemptNumber(granted, 0)
	reason := trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	if until == len(values) {
		reason = trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
	}
	entries := []*trellisv1.RecordCommand_Entry{{Entry: &trellisv1.RecordCommand_Entry_Outcome{
		Outcome: &trellisv1.Outcome{Study: "s", Run: run.Id, Attempt: attempt, Result: &trellisv1.Outcome_Success_{
			Success: &trellisv1.Outcome_Success{Epochs: uint32(until), StopReason: reason},
		}},
	}}}
	if count > 0 {
		entries = append([]*trellisv1.RecordCommand_Entry{{Entry: &trellisv1.RecordCommand_Entry_Reports{
			Reports: &trellisv1.Reports{
				Study: "s", Run: run.Id, Attempt: attempt, FirstEpoch: run.Epochs + 1, Epochs: uint32(count),
				Seconds: make([]float64, count), Metrics: map[string]*trellisv1.Series{"x": series},
			},
		}}}, entries...)
	}
	for _, err := range m.Record(m.next(), m.now(), trajectory.LatestRules, entries) {
		ok(m, err)
	}
}

// mirror turns an answer about a metric into that about its negative.
func mirror(value *float64) {
	if value != nil {
		*value = 0 - *value // Of 0, 0.
	}
}

func mirrorConfiguration(c *trellisv1.Configuration) {
	if c == nil {
		return // All have diverged: there is no best.
	}
	for _, repetition := range c.GetRepetitions() {
		mirror(&repetition.Objective)
	}
	mirror(c.Mean)
	if interval := c.GetInterval(); interval != nil {
		interval.Low, interval.High = 0-interval.High, 0-interval.Low
	}
	for name, value := range c.GetMetrics() {
		c.Metrics[name] = 0 - value
	}
}

// TestMaximizeMirrorsMinimize: to rank by the highest x gives the same answers as to rank by the lowest -x: which is best,
// which are tied with it, what matters, what comes next, and which runs are pruned.
func TestMaximizeMirrorsMinimize(t *testing.T) {
	prunedSome, tb := false, testing.TB(t)
	rapid.Check(t, func(t *rapid.T) {
		spec := &trellisv1.StudySpec{
			Name: "s", Program: &trellisv1.Program{
				Command: []string{"x"}, Prefix: true, Deterministic: true, Resumable: true,
			},
			Objective: objective.WithDefaults(&trellisv1.Objective{
				Metric: "x", Of: rapid.SampledFrom([]trellisv1.Objective_Summary{
					trellisv1.Objective_SUMMARY_BEST, trellisv1.Objective_SUMMARY_LAST, trellisv1.Objective_SUMMARY_MEAN,
				}).Draw(t, "of"), Epochs: rapid.Uint32Range(1, 3).Draw(t, "epochs"),
			}),
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim":    trellisv1.AxisOf[int](2, 4, 8),
				"learning_rate": trellisv1.AxisOf[float64](0.001, 0.01),
				"max_epochs":    trellisv1.AxisOf[int](2, 4),
			}}},
			Seeds: trellisv1.AxisOf[uint32]([]uint32{1, 2, 3}[:rapid.IntRange(1, 3).Draw(t, "seeds")]...),
		}
		switch rapid.IntRange(0, 2).Draw(t, "pruning") {
		case 1:
			spec.Pruning = pruning.WithDefaults(&trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
				Asha: &trellisv1.SuccessiveHalving{MinEpochs: 1},
			}})
		case 2:
			spec.Pruning = pruning.WithDefaults(&trellisv1.Pruning{Method: &trellisv1.Pruning_Median{
				Median: &trellisv1.MedianStopping{MinEpochs: 1, Interval: 1, MinRuns: 2},
			}})
		}
		highest, lowest := newMirrored(tb, spec, 1), newMirrored(tb, spec, -1)
		value := rapid.OneOf(rapid.Float64Range(-1, 1), rapid.SampledFrom([]float64{0, 0.5, math.NaN(), math.Inf(1)}))
		curves := map[string][]float64{}
		for range 60 {
			next, err := highest.Snapshot().NextRuns(nil, 1)
			ok(highest, err)
			other, err := lowest.Snapshot().NextRuns(nil, 1)
			ok(highest, err)
			if len(next) != len(other) || len(next) > 0 && next[0].Id != other[0].Id {
				t.Fatalf("next are %v and %v", next, other)
			}
			if len(next) == 0 {
				break
			}
			id := next[0].Id
			if curves[id] == nil {
				curves[id] = rapid.SliceOfN(value, 1, 4).Draw(t, id)
			}
			highest.report(next[0], curves[id])
			lowest.report(other[0], curves[id])
		}
		prunedSome = sameMirrored(t, highest, lowest) || prunedSome
	})
	if !prunedSome {
		t.Error("no run has been pruned")
	}
}

// sameMirrored compares the answers, and says whether runs have been pruned.
func sameMirrored(t *rapid.T, highest, lowest *mirrored) bool {
	same := func(what string, got, want proto.Message) {
		t.Helper()
		if !proto.Equal(got, want) {
			t.Fatalf("%s: maximized\n%v\nminimized and mirrored\n%v", what, got, want)
		}
	}
	request := &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "objective", PageSize: 100}
	a, err := highest.Snapshot().ListTrials(request)
	ok(highest, err)
	b, err := lowest.Snapshot().ListTrials(request)
	ok(highest, err)
	for i, trial := range b.Trials {
		trial = proto.CloneOf(trial) // What is stored is not changed.
		mirror(trial.Objective)
		trial.Metrics = mirroredMetrics(trial.Metrics)
		b.Trials[i] = trial
	}
	for i := range a.Trials {
		same("trial", a.Trials[i], b.Trials[i])
	}

	va, errA := Verdict(highest.Snapshot(), "s", 0)
	vb, errB := Verdict(lowest.Snapshot(), "s", 0)
	if (errA == nil) != (errB == nil) {
		t.Fatalf("verdicts: %v and %v", errA, errB)
	}
	if errA == nil {
		vb = proto.CloneOf(vb)
		mirrorConfiguration(vb.Best)
		for _, contender := range vb.Contenders {
			mirrorConfiguration(contender)
		}
		same("verdict", va, vb)
	}
	ca, err := ListConfigurations(highest.Snapshot(), &trellisv1.ListConfigurationsRequest{Study: "s"})
	ok(highest, err)
	cb, err := ListConfigurations(lowest.Snapshot(), &trellisv1.ListConfigurationsRequest{Study: "s"})
	ok(highest, err)
	for i, c := range cb.Configurations {
		mirrorConfiguration(c)
		same("configuration", ca.Configurations[i], c)
	}

	ia, errA := Importance(highest.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s"})
	ib, errB := Importance(lowest.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s"})
	if (errA == nil) != (errB == nil) {
		t.Fatalf("importance: %v and %v", errA, errB)
	}
	if errA == nil {
		for _, axis := range ib.Importance.Axes {
			for _, effect := range axis.Values {
				mirror(&effect.Mean)
				mirror(&effect.Best)
			}
		}
		ib.Importance.Objective.Direction = ia.Importance.Objective.Direction
		same("importance", ia, ib)
		sa, err := SuggestStudy(context.Background(), highest.Snapshot(), &trellisv1.SuggestStudyRequest{Study: "s"}, nil, nil)
		ok(highest, err)
		sb, err := SuggestStudy(context.Background(), lowest.Snapshot(), &trellisv1.SuggestStudyRequest{Study: "s"}, nil, nil)
		ok(highest, err)
		sb.Objective.Direction = sa.Objective.Direction
		if sb.Spec != nil {
			sb.Spec.Objective.Direction = sa.Spec.GetObjective().GetDirection()
		}
		same("suggestion", sa, sb)
	}
	study, err := highest.Snapshot().Study(nil, "s")
	ok(highest, err)
	other, err := lowest.Snapshot().Study(nil, "s")
	ok(highest, err)
	same("progress", study.Progress, other.Progress)
	return study.Progress.RunsPruned > 0
}

func mirroredMetrics(metrics map[string]float64) map[string]float64 {
	var other map[string]float64
	for name, value := range metrics {
		if other == nil {
			other = map[string]float64{}
		}
		other[name] = 0 - value
	}
	return other
}
