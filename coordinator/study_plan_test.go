package coordinator

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func (h *harness) plan(spec *trellisv1.StudySpec, fresh bool) *trellisv1.PlanStudyResponse {
	h.Helper()
	response, err := h.studies.PlanStudy(h.Context(), &trellisv1.PlanStudyRequest{Spec: spec, Fresh: fresh})
	if err != nil {
		h.Fatalf("plan study %s: %v", spec.GetName(), err)
	}
	return response
}

func TestAPlanSaysWhatAStudyCosts(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.connect("w", 2)
		spec := slowSpec("new", 3)
		spec.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(5, 10)
		p := h.plan(spec, false)
		if p.GetTrials() != 6 || p.GetRuns() != 3 || p.GetEpochs() != 30 || p.GetEpochsAlone() != 45 ||
			p.GetRunsShared() != 0 {
			t.Errorf("planned %v", p)
		}
		if f := p.GetForecast(); f.GetEpochs().GetExpected() != 30 || !about(f.GetSeconds(), 60) || f.GetSlots() != 2 {
			t.Errorf("forecast %v", f)
		}
		listed, err := h.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{})
		if err != nil || len(listed.GetStudies()) != 0 {
			t.Errorf("planning has created %v, %v", listed, err)
		}
	})
}

// TestAPlanCountsWhatWhereLeavesOut: and the study has the other trials, with the indices of the whole grid.
func TestAPlanCountsWhatWhereLeavesOut(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := slowSpec("some", 3)
		spec.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(5, 10)
		spec.Seeds = trellisv1.AxisOf(1, 2)
		spec.Where = "max_epochs > 5 && (seed == 2 || learning_rate > 1000)"
		p := h.plan(spec, false)
		if p.GetTrials() != 3 || p.GetLeftOut() != 9 || p.GetRuns() != 3 || p.GetEpochs() != 30 {
			t.Errorf("planned %v", p)
		}
		h.create(spec)
		trials, err := h.trials.ListTrials(h.Context(), &trellisv1.ListTrialsRequest{Study: "some"})
		if err != nil || len(trials.GetTrials()) != 3 {
			t.Fatalf("created %v and %v", trials, err)
		}
		for i, trial := range trials.GetTrials() {
			if trial.GetIndex() != uint64(3+4*i) || trial.GetParameters().GetSeed() != 2 {
				t.Errorf("trial %d is %v", i, trial)
			}
		}
		extended, err := h.studies.ExtendStudy(h.Context(), &trellisv1.ExtendStudyRequest{
			Study: "some", Axes: map[string]*trellisv1.Axis{"max_epochs": trellisv1.AxisOf(2, 20)},
		})
		if err != nil || extended.GetTrials() != 3 {
			t.Errorf("an extension adds %d trials, %v", extended.GetTrials(), err)
		}
		for where, want := range map[string]string{
			"max_epochs > 10":           "leaves out all 12 points",
			"1 / (max_epochs - 10) < 3": "division by zero for max_epochs 10",
			"max_epoch > 5":             `did you mean "max_epochs"?`,
			"learning_rate == 'x'":      "can't be used on a number and a text",
		} {
			spec.Name, spec.Where = "none", where
			_, err := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", where, err, want)
			}
		}
	})
}

// TestAPlanIsWhatCreatingTakesOver: what a plan says to be known already is what a study then has at once.
func TestAPlanIsWhatCreatingTakesOver(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(slowSpec("first", 3))
		w := h.connect("w", 1)
		// One run ends, one is trained in part, one has not begun.
		w.train(w.assignment())
		a := w.assignment()
		w.report(a, 1)
		w.report(a, 2)
		w.acknowledged(a.GetAttempt(), 2, false)

		p := h.plan(slowSpec("second", 4), false)
		if p.GetRuns() != 4 || p.GetRunsShared() != 1 || p.GetEpochsShared() != 12 {
			t.Errorf("planned %v", p)
		}
		// Two epochs are known without a checkpoint: they are trained again.
		if f := p.GetForecast(); f.GetEpochs().GetExpected() != 30 {
			t.Errorf("forecast %v", f)
		}
		if p := h.plan(slowSpec("second", 4), true); p.GetRunsShared() != 0 || p.GetEpochsShared() != 0 ||
			p.GetForecast().GetEpochs().GetExpected() != 40 {
			t.Errorf("a fresh study is planned as %v", p)
		}
		h.create(slowSpec("second", 4))
		progress := h.study("second").GetProgress()
		if progress.GetEpochsShared() != p.GetEpochsShared() || progress.GetRunsSucceeded() != p.GetRunsShared() ||
			progress.GetSecondsShared() != p.GetSecondsShared() {
			t.Errorf("planned %v, created %v", p, progress)
		}
	})
}

// TestAPlanOverAChainOfStudies: the third of three studies, each of which asks for more epochs than the one before,
// takes over what the second knows, including what that one had from the first, and what it took to train.
func TestAPlanOverAChainOfStudies(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		longer := func(name string, epochs uint32) *trellisv1.StudySpec {
			spec := slowSpec(name, 1)
			spec.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(epochs)
			return spec
		}
		w := h.connect("w", 1)
		known := uint32(0)
		for _, spec := range []*trellisv1.StudySpec{longer("first", 4), longer("second", 10)} {
			h.create(spec)
			a := w.assignment()
			epochs := a.GetConfig().GetParameters().GetMaxEpochs()
			// There is no checkpoint: what the first study knows is trained again, and counts for nothing.
			var losses []float64
			for epoch := range epochs {
				losses = append(losses, lossAt(a.GetConfig().GetParameters(), epoch+1))
			}
			reports := reportsOf(a, 1, losses...)
			for i := range reports.Seconds {
				reports.Seconds[i] = float64(epochs)
			}
			w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
				Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
			}})
			w.succeed(a, epochs)
			w.acknowledged(a.GetAttempt(), epochs, true)
			progress := h.study(spec.GetName()).GetProgress()
			if progress.GetEpochsShared() != uint64(known) {
				t.Errorf("study %s shares %d epochs, want %d", spec.GetName(), progress.GetEpochsShared(), known)
			}
			known = epochs
		}
		for _, test := range []struct {
			epochs, shared uint32
			seconds        float64
			ended          uint64
		}{
			// Four epochs of 4 s and six of 10 s: a part counts for what all of them took on average.
			{3, 3, 3 * 7.6, 1},
			{8, 8, 8 * 7.6, 1},
			{10, 10, 4*4 + 6*10, 1},
			{20, 10, 4*4 + 6*10, 0},
		} {
			p := h.plan(longer("third", test.epochs), false)
			if p.GetEpochsShared() != uint64(test.shared) || math.Abs(p.GetSecondsShared()-test.seconds) > 1e-9 ||
				p.GetRunsShared() != test.ended {
				t.Errorf("%d epochs are planned as %v, want %+v", test.epochs, p, test)
			}
		}
		p := h.plan(longer("third", 20), false)
		h.create(longer("third", 20))
		if progress := h.study("third").GetProgress(); progress.GetEpochsShared() != p.GetEpochsShared() ||
			progress.GetSecondsShared() != p.GetSecondsShared() {
			t.Errorf("planned %v, created %v", p, progress)
		}
	})
}

// TestAPlanTellsWhyAKnownRunHasEnded: one that came to the end of its own epochs goes on where more are asked for, one
// that ended by itself answers them all.
func TestAPlanTellsWhyAKnownRunHasEnded(t *testing.T) {
	for reason, left := range map[trellisv1.StopReason]float64{
		// The known epochs left no checkpoint: the longer run begins anew.
		trellisv1.StopReason_STOP_REASON_MAX_EPOCHS:     10,
		trellisv1.StopReason_STOP_REASON_EARLY_STOPPING: 0,
		trellisv1.StopReason_STOP_REASON_DIVERGED:       0,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				shorter := slowSpec("shorter", 1)
				shorter.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(4)
				h.create(shorter)
				w := h.connect("w", 1)
				a := w.assignment()
				for epoch := uint32(1); epoch <= 4; epoch++ {
					w.report(a, epoch)
				}
				w.outcome(&trellisv1.Outcome{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
					Result: &trellisv1.Outcome_Success_{
						Success: &trellisv1.Outcome_Success{StopReason: reason, Epochs: 4},
					},
				})
				w.acknowledged(a.GetAttempt(), 4, true)

				p := h.plan(slowSpec("longer", 1), false)
				if f := p.GetForecast(); p.GetEpochsShared() != 4 || f.GetEpochs().GetExpected() != left {
					t.Errorf("planned %v, want 4 epochs shared and %g to train", p, left)
				}
				h.create(slowSpec("longer", 1))
				if shared := h.study("longer").GetProgress().GetRunsSucceeded(); shared != p.GetRunsShared() ||
					(shared == 1) != (left == 0) {
					t.Errorf("%d runs planned as known, %d are", p.GetRunsShared(), shared)
				}
			})
		})
	}
}

func TestWhatCannotBeCreatedCannotBePlanned(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		for name, change := range map[string]func(*trellisv1.StudySpec){
			"learning rate 0": func(s *trellisv1.StudySpec) { s.Grid[0].Axes["learning_rate"] = trellisv1.AxisOf(0) },
			"an unknown data set": func(s *trellisv1.StudySpec) {
				s.Model, s.Data, s.Synthetic = "conv-autoencoder",
					"imagenet", nil
			},
			"too many points": hundredMillion,
		} {
			spec := slowSpec("bad", 1)
			change(spec)
			_, planErr := h.studies.PlanStudy(h.Context(), &trellisv1.PlanStudyRequest{Spec: spec})
			_, createErr := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
			if status.Code(planErr) != codes.InvalidArgument || planErr.Error() != createErr.Error() {
				t.Errorf("%s: planning says %v, creating %v", name, planErr, createErr)
			}
		}
		h.create(slowSpec("taken", 1))
		h.plan(slowSpec("taken", 1), false)
	})
}

// A plan says how the images would be divided: who asks may not have them.
func TestAPlanSaysHowImagesAreDivided(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := slowSpec("new", 1)
		spec.Model, spec.Data, spec.Synthetic = "conv-autoencoder", "tiny", nil
		split := h.plan(spec, false).GetSplit()
		if created := h.create(spec).GetSpec().GetSplit(); split == nil || !proto.Equal(split, created) {
			t.Errorf("planned %v, created %v", split, created)
		}
	})
}
