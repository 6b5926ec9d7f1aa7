package coordinator

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func someIntegers(values ...uint32) *trellisv1.Axis {
	return trellisv1.AxisOf[uint32](values...)
}

// extend extends a study, which must succeed with so many more trials.
func (h *harness) extend(request *trellisv1.ExtendStudyRequest, trials uint64) *trellisv1.Study {
	h.Helper()
	response, err := h.studies.ExtendStudy(h.Context(), request)
	if err != nil || response.GetTrials() != trials {
		h.Fatalf("extend by %v: %v and error %v, want %d trials more", request, response, err, trials)
	}
	return response.GetStudy()
}

func TestAnExtendedStudyTrainsWhatIsMissing(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		w := h.connect("w", 1)
		w.train(w.assignment())
		if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
			t.Fatalf("the study is %v", study)
		}
		extension := &trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{
			"max_epochs": someIntegers(2, 3, 5), "latent_dim": someIntegers(8),
		}}
		plan, err := h.planExtension(extension)
		if left := plan.GetForecast().GetEpochs(); err != nil || plan.GetRuns() != 1 || plan.GetRunsLengthened() != 1 ||
			plan.GetEpochs() != 5+3 || left.GetHigh() < 5+3 {
			t.Errorf("the plan is %v, %v", plan, err)
		}
		study := h.extend(extension, 5)
		spec := study.GetSpec().GetGrid()[0]
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING ||
			!proto.Equal(spec.GetAxes()["max_epochs"], trellisv1.AxisOf(2, 3, 5)) ||
			!proto.Equal(spec.GetAxes()["latent_dim"], trellisv1.AxisOf(4, 8)) || len(study.GetEarlierSpecs()) != 1 {
			t.Errorf("the extended study is %v", study)
		}
		a := w.assignment()
		config := a.GetConfig()
		if a.GetEpochs() != 2 || config.GetParameters().GetMaxEpochs() != 5 ||
			!slices.Equal(config.GetMilestones(), []uint32{2, 3, 5}) {
			t.Errorf("the run goes on with %v", a)
		}
		for epoch := uint32(3); epoch <= 5; epoch++ {
			w.report(a, epoch)
		}
		w.succeed(a, 5)
		w.acknowledged(a.GetAttempt(), 5, true)
		w.train(w.assignment())
		if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 6 ||
			study.GetProgress().GetEpochs() != 10 {
			t.Errorf("in the end the study is %v", study)
		}
	})
}

// TestAnAttemptUnderWayIsExtended: its worker ends where it was told to, and is then told to go on.
func TestAnAttemptUnderWayIsExtended(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.acknowledged(a.GetAttempt(), 1, false)
		h.extend(&trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(3)}}, 1)
		w.report(a, 2)
		w.succeed(a, 2)
		w.acknowledged(a.GetAttempt(), 2, true)
		b := w.assignment()
		if b.GetEpochs() != 2 || b.GetConfig().GetParameters().GetMaxEpochs() != 3 {
			t.Errorf("the run goes on with %v", b)
		}
		w.report(b, 3)
		w.succeed(b, 3)
		w.acknowledged(b.GetAttempt(), 3, true)
		if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetEpochs() != 3 {
			t.Errorf("in the end the study is %v", study)
		}
	})
}

func TestBadExtensionsAreRefusedAndChangeNothing(t *testing.T) {
	for name, test := range map[string]struct {
		request *trellisv1.ExtendStudyRequest
		code    codes.Code
		says    string
	}{
		"of nobody": {&trellisv1.ExtendStudyRequest{}, codes.InvalidArgument, "study"},
		"of a ghost": {
			&trellisv1.ExtendStudyRequest{Study: "ghost", Seeds: someIntegers(2)}, codes.NotFound,
			`study "ghost" not found`,
		},
		"by nothing": {
			&trellisv1.ExtendStudyRequest{Study: "s"}, codes.InvalidArgument,
			"adds nothing: name an axis and the values to add to it",
		},
		"by the same": {
			&trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(2), "latent_dim": someIntegers(4)}}, codes.InvalidArgument,
			`adds nothing: study "s" already has all of these values`,
		},
		"by nonsense": {
			&trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(785)}}, codes.InvalidArgument,
			"latent_dim takes whole numbers between 1 and 784",
		},
		"by an empty axis": {
			&trellisv1.ExtendStudyRequest{Study: "s", Seeds: someIntegers()},
			codes.InvalidArgument, "seeds: an axis needs at least one value",
		},
		"by too much": {&trellisv1.ExtendStudyRequest{Study: "s", Seeds: &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: 10000, Count: 10000}}, Axes: map[string]*trellisv1.Axis{"max_epochs": {Linear: &trellisv1.Range{From: 1, To: 200, Count: 200}}}}, codes.InvalidArgument, "a study has at most 1,000,000"},
		"though canceled": {
			&trellisv1.ExtendStudyRequest{Study: "canceled", Seeds: someIntegers(2)},
			codes.FailedPrecondition, `study "canceled" was canceled and can't be extended: submit a new one`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
				h.create(syntheticSpec("canceled", []uint32{4}, []uint32{2}))
				if _, err := h.studies.CancelStudy(h.Context(),
					&trellisv1.CancelStudyRequest{Study: "canceled"}); err != nil {
					t.Fatal(err)
				}
				before := h.study("s").GetModifyIndex() + h.study("canceled").GetModifyIndex()
				_, err := h.studies.ExtendStudy(h.Context(), test.request)
				if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
					t.Errorf("refused with %v, want %v that says %q", err, test.code, test.says)
				}
				if after := h.study("s").GetModifyIndex() + h.study("canceled").GetModifyIndex(); after != before {
					t.Error("the refusal has changed something")
				}
			})
		})
	}
}

func TestExtensionsNeedRoomOnTheDisk(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{MinFreeDisk: almostAll})
		c.await("one leads", func() bool { return one.leader.Leads() })
		_, err := one.studies.ExtendStudy(one.Context(),
			&trellisv1.ExtendStudyRequest{Study: "big", Seeds: someIntegers(2)})
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "make room") {
			t.Errorf("with a full disk: %v, want ResourceExhausted that says what to do", err)
		}
	})
}

// before runs what somebody else does right before the next extensions come into the log, n times.
func (h *harness) before(n int32, meanwhile func(ctx context.Context)) {
	left := atomic.Int32{}
	left.Store(n)
	h.log.hook(func(l *hookedLog) {
		l.proposing = func(command *trellisv1.Command) {
			if command.GetExtendStudy() != nil && len(command.GetExtendStudy().GetPoints()) == 0 && left.Add(-1) >= 0 {
				meanwhile(h.Context())
			}
		}
	})
}

// TestAnExtensionIsMadeAnewWhenTheStudyHasChanged: no value of either is lost.
func TestAnExtensionIsMadeAnewWhenTheStudyHasChanged(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		seed := uint32(100)
		// Somebody settles it: a point of its own.
		meanwhile := func(ctx context.Context) {
			seed++
			indices := h.study("s").GetIndices()
			answer, err := h.commands.Propose(ctx,
				&trellisv1.Command{Change: &trellisv1.Command_ExtendStudy{ExtendStudy: &trellisv1.ExtendStudyCommand{
					Study: "s", Indices: indices, Points: []*trellisv1.Parameters{
						{MaxEpochs: 2, Seed: seed, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 256})},
					},
				}}})
			if err != nil || answer != uint64(1) {
				t.Errorf("settle it: %v and error %v", answer, err)
			}
		}
		h.before(3, meanwhile)
		study := h.extend(&trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(8, 16)}}, 2)
		if trials := study.GetProgress().GetTrials(); trials != 6 || len(study.GetEarlierSpecs()) != 1 {
			t.Errorf("the study is %v, want 6 trials and one earlier spec", study)
		}
		h.before(1000, meanwhile)
		_, err := h.studies.ExtendStudy(h.Context(),
			&trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(32)}})
		if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "try again") {
			t.Errorf("of a study that never rests: %v, want Aborted", err)
		}
	})
}

// TestAnExtensionIsNotGivenToAnotherStudyOfTheName that has been created meanwhile with as many trials.
func TestAnExtensionIsNotGivenToAnotherStudyOfTheName(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		h.before(1, func(ctx context.Context) {
			// By another leader, which does not wait until this one has admitted the extension.
			for _, command := range []*trellisv1.Command{
				{Change: &trellisv1.Command_DeleteStudy{DeleteStudy: &trellisv1.DeleteStudyCommand{Study: "s"}}},
				{Change: &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
					Spec: testModels.WithDefaults(syntheticSpec("s", []uint32{5}, []uint32{9})), Numerics: testNumerics,
				}}},
			} {
				if _, err := h.commands.Propose(ctx, command); err != nil {
					t.Error(err)
				}
			}
		})
		study := h.extend(&trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"latent_dim": someIntegers(8)}}, 1)
		grid := study.GetSpec().GetGrid()[0]
		if !proto.Equal(grid.GetAxes()["latent_dim"], trellisv1.AxisOf(5, 8)) ||
			!proto.Equal(grid.GetAxes()["max_epochs"], trellisv1.AxisOf(9)) {
			t.Errorf("the study is %v", study)
		}
	})
}

func TestWhatFailedIsTakenUpAgain(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		refused := func(study string, pruned bool, code codes.Code, says string) {
			t.Helper()
			_, err := h.studies.RetryStudy(h.Context(), &trellisv1.RetryStudyRequest{Study: study, Pruned: pruned})
			if status.Code(err) != code || !strings.Contains(err.Error(), says) {
				t.Errorf("refused with %v, want %v that says %q", err, code, says)
			}
		}
		refused("s", true, codes.FailedPrecondition, `no run of study "s" has failed: there is nothing to retry`)
		refused("ghost", false, codes.NotFound, `study "ghost" not found`)
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.outcome(&trellisv1.Outcome{
			Study: "s", Run: a.GetRun(), Attempt: a.GetAttempt(),
			Result: &trellisv1.Outcome_Failure{
				Failure: &trellisv1.Failure{
					Class:   trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY,
					Message: "no memory",
				},
			},
		})
		w.acknowledged(a.GetAttempt(), 1, true)
		if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsFailed() != 1 {
			t.Fatalf("the study is %v", study)
		}
		response, err := h.studies.RetryStudy(h.Context(), &trellisv1.RetryStudyRequest{Study: "s"})
		if err != nil || response.GetRuns() != 1 ||
			response.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			t.Fatalf("%v and error %v", response, err)
		}
		w.train(w.assignment())
		if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 1 {
			t.Errorf("the study is %v", study)
		}
		h.create(syntheticSpec("canceled", []uint32{8}, []uint32{2}))
		if _, err := h.studies.CancelStudy(h.Context(), &trellisv1.CancelStudyRequest{Study: "canceled"}); err != nil {
			t.Fatal(err)
		}
		refused("canceled", false, codes.FailedPrecondition, `study "canceled" was canceled and can't be retried`)
	})
}
