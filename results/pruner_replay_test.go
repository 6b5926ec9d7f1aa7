package results

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// paperCurves are the runs of examples/paper.yaml, in the order of its grid, with the validation losses that they gave:
// see testdata/README.md.
func paperCurves(t testing.TB) (curves []curve) {
	t.Helper()
	data, err := os.ReadFile("testdata/paper-curves.json")
	ok(t, err)
	var rows []struct {
		Run            string    `json:"run"`
		LatentDim      uint32    `json:"latent_dim"`
		LearningRate   float64   `json:"learning_rate"`
		WeightDecay    float64   `json:"weight_decay"`
		ValidationLoss []float64 `json:"validation_loss"`
	}
	ok(t, json.Unmarshal(data, &rows))
	milestones := []uint32{50, 100, 150}
	for i, row := range rows {
		run, trials := testRun(row.Run, row.LatentDim, uint64(3*i), milestones...)
		run.Parameters.Values["learning_rate"] = trellisv1.NumberValue(row.LearningRate)
		run.Parameters.Values["weight_decay"] = trellisv1.NumberValue(row.WeightDecay)
		for i, trial := range trials {
			trial.Parameters = trajectory.ParametersAt(run, milestones[i])
		}
		curves = append(curves, curve{run, trials, row.ValidationLoss})
	}
	return curves
}

// replayed is what a study of the curves came to.
type replayed struct {
	epochs, time int
	best         *trellisv1.Trial
}

func replayCurves(t testing.TB, pruning *trellisv1.Pruning, slots uint32, curves []curve) replayed {
	t.Helper()
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: pruning}, slots, curves)
	p.silent = true
	p.train()
	study, err := p.store.Snapshot().Study(nil, "s")
	ok(t, err)
	if study.State != lifecycle.StudyCompleted {
		t.Fatalf("the study is %v", study)
	}
	best, err := p.store.Snapshot().Best(nil, "s")
	ok(t, err)
	return replayed{int(study.Progress.Epochs), p.now, best}
}

// ordered gives the curves other ids, and with them other places.
func ordered(curves []curve, order func(i int) string) []curve {
	curves = slices.Clone(curves)
	for i, from := range curves {
		run, trials := testRun(order(i), 1, from.run.FirstTrial, from.run.Milestones...)
		run.Parameters = from.run.Parameters
		for k, trial := range trials {
			trial.Parameters = trajectory.ParametersAt(run, run.Milestones[k])
		}
		curves[i] = curve{run, trials, from.validation}
	}
	return curves
}

// TestReplayPaper prunes the training of examples/paper.yaml as it was recorded, against exact sharing, and prints the
// tables of DESIGN.md. Which runs come first matters to what compares a run with those before it: besides the order of
// their ids, in which they would come, each setting is tried in the order of the grid and in some others: only the default one in
// many, unless the build tag soak is set.
func TestReplayPaper(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("seconds of work for one goroutine")
	}
	byDefault := ashaOf(10, 2)
	curves := paperCurves(t)
	grid := ordered(curves, func(i int) string { return fmt.Sprintf("%02d", i) })
	exact := replayCurves(t, nil, 2, curves)
	t.Logf("exact: %d epochs, best %.6f at %v", exact.epochs, *exact.best.Objective, exact.best.Parameters)
	type setting struct {
		name    string
		pruning *trellisv1.Pruning
	}
	var settings []setting
	for _, eta := range []uint32{2, 3, 4} {
		for _, minEpochs := range []uint32{1, 5, 10} {
			settings = append(settings, setting{fmt.Sprintf("asha | %d | %d", minEpochs, eta), ashaOf(minEpochs, eta)})
		}
	}
	settings = append(settings, setting{"median | 10 | 10", medianOf(10, 10, 5)},
		setting{"median | 5 | 5", medianOf(5, 5, 5)})
	share := func(epochs float64) float64 { return 100 * (1 - epochs/float64(exact.epochs)) }
	worse := func(r replayed) float64 { return 100 * (*r.best.Objective / *exact.best.Objective - 1) }
	for _, setting := range settings {
		orders := replayOrders
		if proto.Equal(setting.pruning, byDefault) {
			orders = 20
		}
		for _, slots := range []uint32{2, 4} {
			got, inGrid := replayCurves(t, setting.pruning, slots, curves), replayCurves(t, setting.pruning, slots,
				grid)
			same, worst, epochs := 0, 0.0, 0
			for seed := range uint64(orders) {
				places := rand.New(rand.NewPCG(seed, 0)).Perm(len(curves))
				other := replayCurves(t, setting.pruning, slots,
					ordered(curves, func(i int) string { return fmt.Sprintf("%02d", places[i]) }))
				epochs += other.epochs
				worst = max(worst, worse(other))
				if sameTrial(other, exact) {
					same++
				}
			}
			t.Logf("| %s | %d | %d | %.1f%% | %.6f | %+.2f%% | %v | %.1f%% | %d of %d | %+.2f%% | %.1f%% | %v |",
				setting.name, slots, got.epochs, share(float64(got.epochs)), *got.best.Objective, worse(got), sameTrial(got, exact),
				share(float64(epochs)/float64(orders)), same, orders, worst, share(float64(inGrid.epochs)), sameTrial(inGrid,
					exact))
			if worse(got) < 0 {
				t.Errorf("it found %v, which is better than the best there is", got.best)
			}
			if proto.Equal(setting.pruning, byDefault) && (same < orders || share(float64(epochs)/float64(orders)) < 70) {
				t.Errorf("the defaults are not what they were: same winner in %d of %d orders, %.1f%% saved", same, orders,
					share(float64(epochs)/float64(orders)))
			}
		}
	}
}

func sameTrial(a, b replayed) bool { return a.best.Index == b.best.Index }
