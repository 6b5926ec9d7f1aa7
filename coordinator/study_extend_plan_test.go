package coordinator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// planExtension plans what extend does.
func (h *harness) planExtension(request *trellisv1.ExtendStudyRequest) (*trellisv1.PlanExtensionResponse, error) {
	h.Helper()
	return h.studies.PlanExtension(h.Context(), &trellisv1.PlanExtensionRequest{
		Study: request.GetStudy(), Seeds: request.GetSeeds(), Axes: request.GetAxes(), Budget: request.GetBudget(),
		DropBudget: request.GetDropBudget(),
	})
}

// A plan of an extension says what the extension then adds, and adds nothing itself. No run ends early here.
func TestAnExtensionIsPlanned(t *testing.T) {
	axes := func(name string, values ...uint32) map[string]*trellisv1.Axis {
		return map[string]*trellisv1.Axis{name: someIntegers(values...)}
	}
	budget := func(trials uint64) *trellisv1.Budget { return &trellisv1.Budget{Trials: trials} }
	for name, test := range map[string]struct {
		budget    *trellisv1.Budget
		settle    bool
		extension *trellisv1.ExtendStudyRequest
		lengthens bool
	}{
		"values":             {extension: &trellisv1.ExtendStudyRequest{Axes: axes("latent_dim", 8, 16, 32)}},
		"seeds":              {extension: &trellisv1.ExtendStudyRequest{Seeds: someIntegers(1, 2, 3)}},
		"epochs":             {extension: &trellisv1.ExtendStudyRequest{Axes: axes("max_epochs", 1, 9)}, lengthens: true},
		"fewer epochs":       {extension: &trellisv1.ExtendStudyRequest{Axes: axes("max_epochs", 1)}},
		"settling":           {settle: true, extension: &trellisv1.ExtendStudyRequest{Axes: axes("latent_dim", 8, 16)}},
		"a larger budget":    {budget: budget(2), extension: &trellisv1.ExtendStudyRequest{Budget: budget(4)}},
		"no budget any more": {budget: budget(2), extension: &trellisv1.ExtendStudyRequest{DropBudget: true}},
		"values and budget": {
			budget: budget(2), extension: &trellisv1.ExtendStudyRequest{Budget: budget(5), Axes: axes("latent_dim", 64, 128)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				spec := syntheticSpec("s", []uint32{4, 8}, []uint32{2, 5})
				spec.Budget = test.budget
				if test.settle {
					spec.Settle = &trellisv1.Settle{MaxSeeds: 3}
				}
				h.create(spec)
				test.extension.Study = "s"
				before := h.study("s")
				plan, err := h.planExtension(test.extension)
				if err != nil {
					t.Fatal(err)
				}
				if now := h.study("s"); !proto.Equal(now.GetProgress(), before.GetProgress()) || now.GetModifyIndex() != before.GetModifyIndex() {
					t.Errorf("the plan has changed the study: %v, and before %v", now, before)
				}
				h.extend(test.extension, plan.GetTrials())
				after := h.study("s").GetProgress()
				if added := after.GetRuns() - before.GetProgress().GetRuns(); added != plan.GetRuns() {
					t.Errorf("%d runs are added, and %d were planned", added, plan.GetRuns())
				}
				if added := after.GetEpochsLeft() - before.GetProgress().GetEpochsLeft(); added != plan.GetEpochs() {
					t.Errorf("%d epochs are added, and %d were planned", added, plan.GetEpochs())
				}
				if lengthened := plan.GetRunsLengthened(); lengthened > 0 != test.lengthens {
					t.Errorf("%d runs go on", lengthened)
				}
			})
		})
	}
}

// What an earlier extension has listed, because it does not follow from the specs, is not planned again.
func TestAnExtensionOfAStudyThatListsSomethingIsPlanned(t *testing.T) {
	epochs := func(values ...uint32) *trellisv1.ExtendStudyRequest {
		return &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(values...)}}
	}
	latentDims := func(values ...uint32) *trellisv1.ExtendStudyRequest {
		return &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(values...)}}
	}
	for name, test := range map[string]struct {
		create        func(h *harness)
		first, second *trellisv1.ExtendStudyRequest
		added         *trellisv1.ExtendStudyResponse
		want          *trellisv1.PlanExtensionResponse
	}{
		"more epochs, after settle has added a seed": {
			create: func(h *harness) {
				spec := syntheticSpec("s", []uint32{4, 8}, []uint32{2, 5})
				spec.Settle = &trellisv1.Settle{MaxSeeds: 3}
				h.create(spec)
				h.settleSeed("s")
			},
			first: epochs(2, 5, 9), second: epochs(2, 5, 9, 12),
			added: &trellisv1.ExtendStudyResponse{Trials: 2},
			want:  &trellisv1.PlanExtensionResponse{Trials: 2, RunsLengthened: 2, Epochs: 2 * 3, EpochsBefore: 2 * 9},
		},
		"more epochs, of a study of an older version": {
			create: func(h *harness) {
				h.propose(&trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
					Spec: testModels.WithDefaults(syntheticSpec("s", []uint32{4, 8}, []uint32{2, 5})), Numerics: testNumerics,
				}}})
			},
			first: epochs(2, 5, 9), second: epochs(2, 5, 9, 12),
			added: &trellisv1.ExtendStudyResponse{Trials: 2},
			want:  &trellisv1.PlanExtensionResponse{Trials: 2, RunsLengthened: 2, Epochs: 2 * 3, EpochsBefore: 2 * 9},
		},
		"more values, after all runs have failed": {
			create: (*harness).createThatFails, first: latentDims(100), second: latentDims(101),
			added: &trellisv1.ExtendStudyResponse{Trials: 2},
			want:  &trellisv1.PlanExtensionResponse{Trials: 2, Runs: 1, Epochs: 4},
		},
		"more epochs, after all runs have failed": {
			create: (*harness).createThatFails, first: latentDims(100), second: epochs(9),
			added: &trellisv1.ExtendStudyResponse{Trials: 2},
			want:  &trellisv1.PlanExtensionResponse{Trials: 9, RunsLengthened: 1, Epochs: 5, EpochsBefore: 4},
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				test.create(h)
				test.first.Study, test.second.Study = "s", "s"
				h.extend(test.first, test.added.GetTrials())
				before := h.study("s").GetProgress()
				plan, err := h.planExtension(test.second)
				if err != nil {
					t.Fatal(err)
				}
				if plan.Forecast = nil; !proto.Equal(plan, test.want) {
					t.Errorf("the plan is %v, want %v", plan, test.want)
				}
				after := h.extend(test.second, test.want.GetTrials()).GetProgress()
				if runs := after.GetRuns() - before.GetRuns(); runs != test.want.GetRuns() {
					t.Errorf("%d runs are added, want %d", runs, test.want.GetRuns())
				}
				if epochs := after.GetEpochsLeft() - before.GetEpochsLeft(); epochs != test.want.GetEpochs() {
					t.Errorf("%d epochs are added, want %d", epochs, test.want.GetEpochs())
				}
			})
		})
	}
}

// settleSeed gives a study another seed, as settle does.
func (h *harness) settleSeed(study string) {
	h.Helper()
	h.propose(&trellisv1.Command{Change: &trellisv1.Command_ExtendStudy{ExtendStudy: &trellisv1.ExtendStudyCommand{
		Study: study, Indices: h.study(study).GetIndices(), Points: []*trellisv1.Parameters{
			{MaxEpochs: 5, Seed: 7, Values: trellisv1.ValuesOf(map[string]any{
				"latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 256,
			})},
		},
	}}})
}

// propose applies a command, as another version may have written it.
func (h *harness) propose(command *trellisv1.Command) {
	h.Helper()
	// What answers calls has begun.
	if _, err := h.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{}); err != nil {
		h.Fatal(err)
	}
	if _, err := h.commands.Propose(h.Context(), command); err != nil {
		h.Fatal(err)
	}
}

// createThatFails creates a study of 8 runs of a program that no worker can run, so that all of them fail.
func (h *harness) createThatFails() {
	h.Helper()
	spec := programSpec("s")
	spec.Audit = 0
	h.create(spec)
	hello := helloFrom("w", 1)
	hello.Capacity = &trellisv1.Capacity{Programs: true}
	w, err := h.hello(hello)
	if err != nil {
		h.Fatal(err)
	}
	a := w.assignment()
	w.outcome(&trellisv1.Outcome{
		Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), Result: &trellisv1.Outcome_Failure{
			Failure: &trellisv1.Failure{Class: trellisv1.FailureClass_FAILURE_CLASS_INPUT, Message: "no such program"},
		},
	})
	w.acknowledged(a.GetAttempt(), 0, true)
	if study := h.study("s"); study.GetUntouched() == nil || study.GetProgress().GetRunsFailed() != 8 {
		h.Fatalf("the study is %v, want 8 failed runs", study)
	}
}

// What a plan of an extension is refused for is what the extension is refused for.
func TestAnExtensionThatIsRefusedIsNotPlanned(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := syntheticSpec("s", []uint32{4, 8}, []uint32{2})
		spec.Budget = &trellisv1.Budget{Trials: 1}
		h.create(spec)
		for name, extension := range map[string]*trellisv1.ExtendStudyRequest{
			"no study":         {Study: "t", Seeds: someIntegers(2)},
			"nothing":          {Study: "s"},
			"the same values":  {Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(4)}},
			"an unknown axis":  {Study: "s", Axes: map[string]*trellisv1.Axis{"latent": someIntegers(4)}},
			"a bad value":      {Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(0)}},
			"a smaller budget": {Study: "s", Budget: &trellisv1.Budget{Epochs: 1}},
			"no budget left":   {Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(16)}},
		} {
			_, planned := h.planExtension(extension)
			_, err := h.studies.ExtendStudy(h.Context(), extension)
			if err == nil || status.Code(err) == codes.OK {
				t.Fatalf("%s: it is extended", name)
			}
			if status.Code(planned) != status.Code(err) || status.Convert(planned).Message() != status.Convert(err).Message() {
				t.Errorf("%s: the plan says %v, and the extension %v", name, planned, err)
			}
		}
	})
}

// A study that lists something can't get values and another budget at once, and the plan says so too.
func TestValuesAndABudgetForAStudyThatListsSomething(t *testing.T) {
	for name, test := range map[string]struct {
		before, after *trellisv1.Budget
		drop          bool
		want          string
	}{
		"a larger budget": {
			before: &trellisv1.Budget{Trials: 3}, after: &trellisv1.Budget{Trials: 9},
			want: "the budget leaves out a part of it",
		},
		"no budget": {before: &trellisv1.Budget{Epochs: 9}, drop: true, want: "change the budget first"},
		"more time": {
			before: &trellisv1.Budget{Time: durationpb.New(time.Hour)}, after: &trellisv1.Budget{Time: durationpb.New(2 * time.Hour)},
			want: "change the budget first",
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				spec := syntheticSpec("s", []uint32{4, 8}, []uint32{2, 5})
				spec.Settle, spec.Budget = &trellisv1.Settle{MaxSeeds: 3}, test.before
				h.create(spec)
				h.settleSeed("s")
				extension := &trellisv1.ExtendStudyRequest{
					Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(9)}, Budget: test.after, DropBudget: test.drop,
				}
				before := h.study("s")
				_, planned := h.planExtension(extension)
				_, err := h.studies.ExtendStudy(h.Context(), extension)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("the extension says %v, want %q", err, test.want)
				}
				if status.Code(planned) != status.Code(err) || status.Convert(planned).Message() != status.Convert(err).Message() {
					t.Errorf("the plan says %v, and the extension %v", planned, err)
				}
				if after := h.study("s"); !proto.Equal(after.GetProgress(), before.GetProgress()) {
					t.Errorf("the study has changed: %v, and before %v", after, before)
				}
				if test.want != "change the budget first" {
					return
				}
				// One after the other, it can.
				extension.Axes = nil
				if _, err := h.studies.ExtendStudy(h.Context(), extension); err != nil {
					t.Fatal(err)
				}
				h.extend(&trellisv1.ExtendStudyRequest{
					Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(9)},
				}, 2)
			})
		})
	}
}

// The forecast of a plan counts the slots that have room for the networks which the study would have.
func TestAnExtensionIsForecastForItsNetworks(t *testing.T) {
	latent := proto.CloneOf(commonAxes[0])
	latent.Sizes, latent.Grows = true, true
	axes := append([]*trellisv1.ModelAxis{latent}, commonAxes[1:]...)
	models := grid.Models{{Name: "conv-autoencoder", Data: true, Axes: axes}}
	config := Config{Models: models, Sizer: func(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (grid.Size, error) {
		return grid.Size{Memory: uint64(point.Numeric("latent_dim")) * (50 << 20)}, nil
	}}
	serve(t, config, func(h *harness) {
		h.create(imageSpec("s", "conv-autoencoder", 1))
		hello := helloFrom("w", 4)
		hello.Capacity = &trellisv1.Capacity{Memory: 1 << 30}
		if _, err := h.hello(hello); err != nil {
			t.Fatal(err)
		}
		for latent, want := range map[uint32]uint32{2: 4, 8: 2} {
			plan, err := h.planExtension(&trellisv1.ExtendStudyRequest{
				Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(latent)},
			})
			if got := plan.GetForecast().GetSlots(); err != nil || got != want {
				t.Errorf("latent dimension %d: %d slots, error %v; want %d", latent, got, err, want)
			}
		}
	})
}
