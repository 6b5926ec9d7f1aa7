package coordinator

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
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
