package coordinator

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func someNumbers(values ...float64) *trellisv1.Axis {
	return trellisv1.AxisOf[float64](values...)
}

// noisySpec is a search over an axis that only its model has; another one is left to its default.
func noisySpec(name string, noise ...float64) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: name, Model: "denoising-autoencoder", Data: "tiny", Split: &trellisv1.Split{Train: 500, Validation: 100},
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"noise":         someNumbers(noise...),
			"latent_dim":    someIntegers(4),
			"learning_rate": someNumbers(1e-3),
			"max_epochs":    someIntegers(1, 2),
		}}},
	}
}

// trainOnNoise trains so many runs: the losses are the noise. It returns the values on own axes that the worker was
// given, as they came.
func (w *fakeWorker) trainOnNoise(runs int) (given []map[string]float64) {
	for range runs {
		a := w.assignment()
		p := a.GetConfig().GetParameters()
		given = append(given, map[string]float64{"noise": p.Numeric("noise"), "depth": p.Numeric("depth")})
		for epoch := uint32(a.GetEpochs()) + 1; epoch <= p.GetMaxEpochs(); epoch++ {
			w.reportLoss(a, epoch, p.Numeric("noise")/float64(epoch))
		}
		w.succeed(a, p.GetMaxEpochs())
		w.acknowledged(a.GetAttempt(), p.GetMaxEpochs(), true)
	}
	return given
}

// TestAStudyOnAnAxisOfItsModel from its spec to what follows from its results.
func TestAStudyOnAnAxisOfItsModel(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		models, err := h.studies.ListModels(h.Context(), &trellisv1.ListModelsRequest{})
		if err != nil || len(models.GetModels()) != len(testModels) ||
			!proto.Equal(models.GetModels()[2], testModels[2]) {
			t.Fatalf("the models are %v, %v", models, err)
		}
		h.create(noisySpec("s", 0.5, 0.3))
		if depth := h.study("s").GetSpec().GetGrid()[0].GetAxes()["depth"]; !proto.Equal(depth, trellisv1.AxisOf(2)) {
			t.Errorf("the default became %v", depth)
		}
		w := h.connect("w", 1)
		given := w.trainOnNoise(2)
		want := []map[string]float64{{"noise": 0.5, "depth": 2}, {"noise": 0.3, "depth": 2}}
		if !slices.EqualFunc(given, want, maps.Equal) {
			t.Errorf("the worker was given %v, want %v", given, want)
		}

		h.extend(&trellisv1.ExtendStudyRequest{
			Study: "s", Axes: map[string]*trellisv1.Axis{"noise": someNumbers(0.3, 0.4)},
		}, 2)
		given = w.trainOnNoise(1)
		if want = []map[string]float64{{"noise": 0.4, "depth": 2}}; !slices.EqualFunc(given, want, maps.Equal) {
			t.Errorf("after the extension the worker was given %v, want %v", given, want)
		}
		if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 6 {
			t.Errorf("in the end the study is %v", study)
		}

		listed, err := h.trials.ListTrials(h.Context(), &trellisv1.ListTrialsRequest{
			Study: "s", OrderBy: "-noise", Filter: "noise < 0.45 && depth == 2 && max_epochs == 2",
		})
		var noises []float64
		for _, trial := range listed.GetTrials() {
			noises = append(noises, trial.GetParameters().Numeric("noise"))
		}
		if err != nil || !slices.Equal(noises, []float64{0.4, 0.3}) {
			t.Errorf("listed %v, %v", listed, err)
		}
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "s"})
		if err != nil || best.GetTrial().GetParameters().Numeric("noise") != 0.3 {
			t.Errorf("the best is %v, %v", best, err)
		}
		suggested, err := h.trials.SuggestStudy(h.Context(), &trellisv1.SuggestStudyRequest{Study: "s"})
		if err != nil {
			t.Fatal(err)
		}
		if err := testModels.Validate(suggested.GetSpec()); err != nil {
			t.Errorf("the suggestion %v is not valid: %v", suggested, err)
		}
		axes := suggested.GetSpec().GetGrid()[0].GetAxes()
		if noise := axes["noise"].GetValues(); len(noise) < 2 || noise[0].GetNumber() >= 0.3 ||
			!slices.ContainsFunc(noise, func(v *trellisv1.Value) bool { return v.GetNumber() == 0.3 }) {
			t.Errorf("the best noise is the lowest one, 0.3, and suggested are %v", noise)
		}
		if !proto.Equal(axes["depth"], trellisv1.AxisOf(2)) {
			t.Errorf("suggested depths are %v", axes["depth"])
		}

		// Another study of the same points has nothing left to train; one of another depth has.
		same := h.create(noisySpec("same", 0.4))
		if same.GetProgress().GetEpochsLeft() != 0 {
			t.Errorf("the same points again: %v", same.GetProgress())
		}
		deeper := noisySpec("deeper", 0.4)
		deeper.Grid[0].Axes["depth"] = someNumbers(3)
		if other := h.create(deeper); other.GetProgress().GetEpochsLeft() != 2 {
			t.Errorf("other points: %v", other.GetProgress())
		}
	})
}

func TestSpecsThatTheirModelDoesNotTakeAreRefused(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		for says, change := range map[string]func(*trellisv1.StudySpec){
			`unknown model "transformer": must be one of synthetic, conv-autoencoder, `: func(s *trellisv1.StudySpec) {
				s.Model = "transformer"
			},
			`grid[0].axes["noise"]: noise is missing`: func(s *trellisv1.StudySpec) { s.Grid[0].Axes = nil },
			"noise takes numbers above 0 and at most 10, not 11": func(s *trellisv1.StudySpec) {
				s.Grid[0].Axes["noise"] = someNumbers(11)
			},
			"depth takes whole numbers between 1 and 8, not 1.5": func(s *trellisv1.StudySpec) {
				s.Grid[0].Axes["depth"] = someNumbers(1.5)
			},
			`unknown axis "width": must be one of latent_dim`: func(s *trellisv1.StudySpec) {
				s.Grid[0].Axes["width"] = someNumbers(1)
			},
			"denoising-autoencoder begins with random weights": func(s *trellisv1.StudySpec) {
				s.Pretrained = &trellisv1.Pretrained{Study: "s"}
			},
		} {
			spec := noisySpec("s", 0.5)
			change(spec)
			_, err := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
				t.Errorf("refused with %v, want InvalidArgument that says %q", err, says)
			}
		}
		h.create(noisySpec("s", 0.5))
		_, err := h.studies.ExtendStudy(h.Context(), &trellisv1.ExtendStudyRequest{
			Study: "s", Axes: map[string]*trellisv1.Axis{"noise": someNumbers(0.4, -1)},
		})
		if status.Code(err) != codes.InvalidArgument ||
			!strings.Contains(err.Error(), `axes["noise"].numbers[1]: noise takes numbers above 0`) {
			t.Errorf("the extension is refused with %v", err)
		}
		for _, request := range []*trellisv1.ListTrialsRequest{
			{Study: "s", OrderBy: "width"},
			{Study: "s", Filter: "width > 1"},
		} {
			if _, err := h.trials.ListTrials(h.Context(), request); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%v is answered with %v", request, err)
			}
		}
	})
}
