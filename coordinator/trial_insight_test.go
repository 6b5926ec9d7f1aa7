package coordinator

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/insight"
	"trellis/results/lattice"
	"trellis/results/trajectory"
)

// TestSuggestedStudiesAreValid: whatever a study was and whatever it found, what is suggested after it passes the
// rules, is no larger, and has the best configuration again. So does what is suggested after that.
func TestSuggestedStudiesAreValid(t *testing.T) {
	skipShort(t)
	suggested := 0
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		for range 3 {
			old, err := lattice.Of(spec)
			if err != nil {
				t.Fatal(err)
			}
			snapshot := findAnything(t, spec)
			response, err := insight.SuggestStudy(context.Background(), snapshot, &trellisv1.SuggestStudyRequest{Study: spec.GetName()},
				testModels, nil)
			if status.Code(api.Status(err)) == codes.FailedPrecondition {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if response.GetSpec() == nil {
				return
			}
			suggested++
			next := response.GetSpec()
			if err := testModels.Validate(next); err != nil {
				t.Fatalf("after %v, %v is suggested: %v", spec, next, err)
			}
			points, err := grid.New(next)
			if err != nil {
				t.Fatal(err)
			}
			if its, err := lattice.Of(next); err != nil || its.Runs() > old.Runs() ||
				its.Trials() > old.Trials() {
				t.Fatalf("after %d trials in %d runs, %d in %d are suggested: %v", old.Trials(), old.Runs(), its.Trials(), its.Runs(), err)
			}
			checkBestRecurs(t, snapshot, spec.GetName(), points)
			if len(response.GetAxes()) != 5 {
				t.Fatalf("reasons: %v", response.GetAxes())
			}
			spec = next
		}
	})
	if suggested == 0 {
		t.Error("nothing was ever suggested")
	}
}

// checkBestRecurs: the run of the best configuration is one of the suggested ones too, so that it is shared.
func checkBestRecurs(t *rapid.T, snapshot *results.Snapshot, study string, points *grid.Grid) {
	response, err := insight.Importance(snapshot, &trellisv1.GetImportanceRequest{Study: study})
	if err != nil {
		t.Fatal(err)
	}
	lowest := math.Inf(1)
	for _, effect := range response.GetImportance().GetAxes()[0].GetValues() {
		lowest = min(lowest, effect.GetBest())
	}
	for _, effect := range response.GetImportance().GetAxes()[0].GetValues() {
		best := effect.GetBestAt()
		for _, point := range points.All() {
			if effect.GetBest() == lowest && point.Numeric("latent_dim") == best.Numeric("latent_dim") &&
				point.Numeric("learning_rate") == best.Numeric("learning_rate") && point.Numeric("weight_decay") == best.Numeric("weight_decay") {
				return
			}
		}
	}
	t.Fatal("the best configuration is not part of the suggested study")
}

// drawSpec draws a spec of up to a thousand trials.
func drawSpec(t *rapid.T) *trellisv1.StudySpec {
	draw := func(name string, highest uint32, most int) *trellisv1.Axis {
		return trellisv1.AxisOf[uint32](rapid.SliceOfNDistinct(rapid.Uint32Range(1, highest), 1, most,
			rapid.ID).Draw(t, name)...)
	}
	numbers := func(name string, lowest float64) *trellisv1.Axis {
		switch rapid.IntRange(0, 2).Draw(t, name+" form") {
		case 0:
			r := &trellisv1.Range{From: rapid.Float64Range(1e-9, 1).Draw(t, name), To: 1000, Count: 3}
			return rapid.SampledFrom([]*trellisv1.Axis{{Linear: r}, {Log10: r}, {Log2: r}}).Draw(t, name+" range")
		case 1:
			return trellisv1.AxisOf[float64](lowest, 1e-5, 1e-4)
		default:
			values := rapid.SliceOfNDistinct(rapid.Float64Range(lowest, 1000), 1, 4, rapid.ID)
			return trellisv1.AxisOf[float64](values.Draw(t, name)...)
		}
	}
	spec := &trellisv1.StudySpec{
		Name: rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`).Draw(t, "name"), Model: "synthetic",
		Seeds: draw("seeds", 9, 2),
	}
	if rapid.Bool().Draw(t, "early stopping") {
		spec.EarlyStopping = &trellisv1.EarlyStopping{Patience: 1}
	}
	for range rapid.IntRange(1, 3).Draw(t, "grids") {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    draw("latent_dim", 784, 5),
			"max_epochs":    draw("max_epochs", 20, 3),
			"batch_size":    draw("batch sizes", 999, 2),
			"learning_rate": numbers("learning_rate", 1e-300),
			"weight_decay":  numbers("weight_decay", 0),
		}})
	}
	if testModels.Validate(spec) != nil {
		t.Skip("points of a range are the same when rounded")
	}
	return spec
}

// findAnything trains a study's runs to random ends.
func findAnything(t *rapid.T, spec *trellisv1.StudySpec) *results.Snapshot {
	store, err := results.New()
	must := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	must(err)
	_, runs, err := grid.Expand(spec, nil, "1", nil)
	must(err)
	now := &timestamppb.Timestamp{}
	must(store.CreateStudy(1, now, &trellisv1.Study{Name: spec.GetName(), Spec: spec, Numerics: "1"}),
		store.SetWorker(2, now, trajectory.LatestRules, &trellisv1.Worker{
			Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY,
			Slots: 1,
		}))
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "losses"), 0))
	left := rapid.IntRange(0, 3).Draw(t, "how many tenths of the runs are left")
	for i, run := range runs {
		if random.IntN(10) < left {
			continue
		}
		index := uint64(3 + 2*i)
		must(store.Grant(index, now, []*trellisv1.Grant{{Study: spec.GetName(), Run: run.GetId(), Worker: "w"}})...)
		epochs := 1 + random.Uint32N(run.GetParameters().GetMaxEpochs())
		losses := make([]float64, epochs)
		for epoch := range losses {
			losses[epoch] = random.ExpFloat64()
		}
		if random.IntN(10) == 0 {
			losses[epochs-1] = math.NaN()
		}
		attempt := results.AttemptNumber(index, 0)
		must(store.Record(index+1, now, trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{
			{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: &trellisv1.Reports{
				Study: spec.GetName(), Run: run.GetId(), Attempt: attempt, FirstEpoch: 1, TrainLoss: losses,
				ValidationLoss: losses,
				Seconds:        make([]float64, epochs),
			}}},
			{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: &trellisv1.Outcome{
				Study: spec.GetName(), Run: run.GetId(), Attempt: attempt,
				Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{Epochs: epochs}},
			}}},
		})...)
	}
	return store.Snapshot()
}

// TestInsightOverTheWire: what is asked for comes back, or the code that says why not.
func TestInsightOverTheWire(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4, 8}, []uint32{2}))
		for _, study := range []struct {
			name string
			want codes.Code
		}{{"s", codes.FailedPrecondition}, {"none", codes.NotFound}} {
			_, err := h.trials.GetImportance(h.Context(), &trellisv1.GetImportanceRequest{Study: study.name})
			if status.Code(err) != study.want {
				t.Errorf("importance in %s: %v, want %v", study.name, err, study.want)
			}
			_, err = h.trials.SuggestStudy(h.Context(), &trellisv1.SuggestStudyRequest{Study: study.name})
			if status.Code(err) != study.want {
				t.Errorf("suggestion after %s: %v, want %v", study.name, err, study.want)
			}
		}
	})
}

// What is suggested passes the same check of sizes as what is submitted.
func TestSuggestionsFitTheImages(t *testing.T) {
	latent := proto.CloneOf(commonAxes[0])
	latent.Sizes, latent.Grows = true, true
	models := grid.Models{{Name: "conv-autoencoder", Data: true, Axes: append([]*trellisv1.ModelAxis{latent}, commonAxes[1:]...)}}
	config := Config{Models: models, Sizer: func(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (grid.Size, error) {
		if point.Numeric("latent_dim") > 10 {
			return grid.Size{}, errors.New("too large")
		}
		return grid.Size{Weights: 1}, nil
	}}
	serve(t, config, func(h *harness) {
		spec := imageSpec("s", "conv-autoencoder", 1)
		spec.Grid[0].Axes["latent_dim"] = someIntegers(4, 8)
		h.create(spec)
		w := h.connect("w", 1)
		for range 2 {
			a := w.assignment()
			p := a.GetConfig().GetParameters()
			for epoch := uint32(1); epoch <= p.GetMaxEpochs(); epoch++ {
				w.reportLoss(a, epoch, 1/p.Numeric("latent_dim"))
			}
			w.succeed(a, p.GetMaxEpochs())
			w.acknowledged(a.GetAttempt(), p.GetMaxEpochs(), true)
		}
		response, err := h.trials.SuggestStudy(h.Context(), &trellisv1.SuggestStudyRequest{Study: "s"})
		if err != nil {
			t.Fatal(err)
		}
		// 16 is twice the best and the largest value tried.
		if unfit := response.GetAxes()[0].GetUnfit(); len(unfit) != 1 || unfit[0].GetInteger() != 16 {
			t.Errorf("left out are %v, want 16: %v", unfit, response.GetAxes())
		}
	})
}
