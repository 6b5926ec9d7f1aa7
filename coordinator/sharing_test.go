package coordinator

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	trellisv1 "trellis/proto/trellis/v1"
)

// trainFrom reports the epochs of a run that are not recorded yet, with test losses where the assignment asks for them.
func (w *fakeWorker) trainFrom(a *trellisv1.Assignment) {
	w.Helper()
	parameters := a.GetConfig().GetParameters()
	for epoch := a.GetEpochs() + 1; epoch <= parameters.GetMaxEpochs(); epoch++ {
		reports := reportsOf(a, epoch, lossAt(parameters, epoch))
		reports.Seconds = []float64{1}
		if slices.Contains(a.GetConfig().GetMilestones(), epoch) {
			reports.TestLoss = map[uint32]float64{epoch: lossAt(parameters, epoch) + 1}
		}
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
		}})
	}
	w.succeed(a, parameters.GetMaxEpochs())
	w.acknowledged(a.GetAttempt(), parameters.GetMaxEpochs(), true)
}

// Two studies that are submitted together train each run once, though two workers are there for both: the run of the
// one that asks for more goes on where the other's has ended. Whoever trains a run is told of the epochs that all of
// them ask for.
func TestStudiesTogetherTrainEachRunOnce(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("first", []uint32{4, 8}, []uint32{2, 4}))
		h.create(syntheticSpec("second", []uint32{4, 8, 16}, []uint32{3, 6}))
		workers := []*fakeWorker{h.connect("a", 1), h.connect("b", 1)}
		var firsts []*trellisv1.Assignment
		for i, w := range workers {
			firsts = append(firsts, w.assignment())
			if a := firsts[i]; a.GetStudy() != "first" || a.GetEpochs() != 0 ||
				!slices.Equal(a.GetConfig().GetMilestones(), []uint32{2, 3, 4}) {
				t.Errorf("assignment %d is %v", i, a)
			}
		}
		// While both are trained, nobody is given their twins: there is one more run.
		third := h.connect("c", 3)
		workers = append(workers, third)
		synctest.Wait()
		if held := h.worker("c").GetRuns(); held != 1 {
			t.Errorf("a worker with room for 3 is given %d runs, want the one that nobody trains", held)
		}
		for i, a := range firsts {
			workers[i].trainFrom(a)
		}
		if study := h.study("first"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
			t.Errorf("the first study is %v", study.GetState())
		}
		trained := map[string]uint32{}
		for h.study("second").GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
			synctest.Wait()
			for _, w := range workers {
				for range h.worker(w.name).GetRuns() {
					a := w.assignment()
					latent := fmt.Sprint(a.GetConfig().GetParameters().Numeric("latent_dim"))
					trained[latent] += a.GetConfig().GetParameters().GetMaxEpochs() - a.GetEpochs()
					w.trainFrom(a)
				}
			}
		}
		if trained["4"] != 2 || trained["8"] != 2 || trained["16"] != 6 {
			t.Errorf("epochs trained for the second study, by latent dimension: %v", trained)
		}
		progress := h.study("second").GetProgress()
		if progress.GetEpochs() != 18 || progress.GetEpochsShared() != 8 || progress.GetSecondsShared() != 8 ||
			progress.GetTrainingSeconds() != 10 {
			t.Errorf("progress %v", progress)
		}
		response, err := h.trials.ListTrials(h.Context(), &trellisv1.ListTrialsRequest{Study: "second"})
		if err != nil {
			t.Fatal(err)
		}
		for _, trial := range response.GetTrials() {
			if trial.TestLoss == nil ||
				trial.GetTestLoss() != lossAt(trial.GetParameters(), trial.GetParameters().GetMaxEpochs())+1 {
				t.Errorf("trial %v has no test loss, or another's", trial)
			}
		}
	})
}

// When a study is paused, canceled or deleted, its runs go on for the others at once.
func TestTwinGoesOnWhenItsStudyStops(t *testing.T) {
	for _, stop := range []string{"pause", "cancel", "delete", "return"} {
		t.Run(stop, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.create(syntheticSpec("first", []uint32{4}, []uint32{4}))
				h.create(syntheticSpec("second", []uint32{4}, []uint32{4}))
				w := h.connect("w", 1)
				a := w.assignment()
				w.report(a, 1)
				w.acknowledged(a.GetAttempt(), 1, false)
				var err error
				switch stop {
				case "pause":
					_, err = h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "first"})
				case "cancel":
					_, err = h.studies.CancelStudy(h.Context(), &trellisv1.CancelStudyRequest{Study: "first"})
				case "delete":
					_, err = h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "first"})
				case "return":
					w.outcome(&trellisv1.Outcome{
						Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
						Result: &trellisv1.Outcome_Return_{
							Return: &trellisv1.Outcome_Return{},
						},
					})
				}
				if err != nil {
					t.Fatal(err)
				}
				message := w.next()
				for message.GetAssignment() == nil {
					message = w.next()
				}
				next := message.GetAssignment()
				if want := map[bool]string{true: "first", false: "second"}[stop == "return"]; next.GetStudy() != want ||
					next.GetEpochs() != 1 {
					t.Errorf("the next assignment is %v", next)
				}
			})
		})
	}
}

// A study that is submitted again is done at once; one that differs in anything that determines digits shares nothing,
// and neither does a fresh one.
func TestWhatIsShared(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := func(name string, change func(*trellisv1.StudySpec)) *trellisv1.StudySpec {
			spec := syntheticSpec(name, []uint32{4}, []uint32{2})
			spec.EarlyStopping = &trellisv1.EarlyStopping{Patience: 3}
			change(spec)
			return spec
		}
		h.create(spec("first", func(*trellisv1.StudySpec) {}))
		w := h.connect("w", 1)
		w.train(w.assignment())
		w.silence()
		again := h.create(spec("again", func(*trellisv1.StudySpec) {}))
		if again.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			again.GetProgress().GetEpochsShared() != 2 {
			t.Errorf("a study that is submitted again is %v", again)
		}
		response, err := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{
			Spec: spec("fresh", func(*trellisv1.StudySpec) {}), Fresh: true,
		})
		if err != nil || !response.GetStudy().GetFresh() || response.GetStudy().GetProgress().GetEpochs() != 0 {
			t.Errorf("a fresh study is %v, error %v", response.GetStudy(), err)
		}
		for name, change := range map[string]func(*trellisv1.StudySpec){
			"seed": func(s *trellisv1.StudySpec) { s.Seeds = trellisv1.AxisOf[int](2) },
			"batch-size": func(s *trellisv1.StudySpec) {
				s.Grid[0].Axes["batch_size"] = trellisv1.AxisOf(128)
			},
			"data":           func(s *trellisv1.StudySpec) { s.Model, s.Data = "conv-autoencoder", "tiny" },
			"early-stopping": func(s *trellisv1.StudySpec) { s.EarlyStopping.Patience = 4 },
			"min-delta":      func(s *trellisv1.StudySpec) { s.EarlyStopping.MinDelta = 0.1 },
			"decay": func(s *trellisv1.StudySpec) {
				s.Grid[0].Axes["weight_decay"] = trellisv1.AxisOf[float64](1e-5)
			},
		} {
			if study := h.create(spec(name, change)); study.GetProgress().GetEpochs() != 0 {
				t.Errorf("a study with another %s has taken over %v", name, study.GetProgress())
			}
		}
	})
}
