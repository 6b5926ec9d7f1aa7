package lead

import (
	"testing"
	"testing/synctest"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// successOf says that a run has ended after so many epochs.
func successOf(a *trellisv1.Assignment, epochs uint32) *trellisv1.SessionRequest {
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
		Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), Result: &trellisv1.Outcome_Success_{
			Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: epochs,
			},
		},
	}}}
}

// A slot that becomes free gets its next run with the command that says so, if the choice of that run does not depend
// on what the command records.
func TestSlotsAreRefilledAtOnce(t *testing.T) {
	halving := &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
		Asha: &trellisv1.SuccessiveHalving{MinEpochs: 1, ReductionFactor: 2},
	}}
	for name, test := range map[string]struct {
		// older is what an older study asks of workers. If it is not nil, that study prunes, too.
		older map[string]string
		// large is how much memory the networks of another older study take.
		large   uint64
		pruning *trellisv1.Pruning
		want    bool
	}{
		"models":                       {want: true},
		"pruning":                      {pruning: halving},
		"another one prunes elsewhere": {older: map[string]string{"gpu": "a100"}, want: true},
		"another one suits no worker":  {large: 2 * giga, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			leading(t, func(l *Leader, log *testLog) {
				if test.older != nil {
					log.createFrom(&trellisv1.StudySpec{
						Name: "older", Model: "synthetic", Pruning: halving, Workers: test.older,
						Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
							"latent_dim": trellisv1.AxisOf[uint32](16), "max_epochs": trellisv1.AxisOf[uint32](4),
						}}},
					})
				}
				if test.large > 0 {
					log.createLarge("large", test.large, 16)
				}
				log.createAt("first", 4, 1)
				greeting := hello("worker")
				greeting.Capacity = &trellisv1.Capacity{Memory: giga}
				w := connect(log, l, greeting)
				a := w.assignment()
				together, alone := 0, 0
				log.hook(func(command *trellisv1.Command) {
					together += len(command.GetRecordAndGrant().GetGrant().GetGrants())
					alone += len(command.GetGrant().GetGrants())
				})
				log.createFrom(&trellisv1.StudySpec{
					Name: "next", Model: "synthetic", Pruning: test.pruning,
					Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
						"latent_dim": trellisv1.AxisOf[uint32](8), "max_epochs": trellisv1.AxisOf[uint32](4),
					}}},
				})
				synctest.Wait() // While the dispatcher is at work, it fills all slots alone.
				w.send(reportsRequest(reportOf(a, 1)))
				w.send(successOf(a, 1))
				synctest.Wait()
				if got := together == 1; got != test.want || together+alone != 1 {
					t.Errorf("%d runs were granted with the outcome, and %d alone", together, alone)
				}
			})
		})
	}
}

// An outcome that is refused frees no slot. Apply refuses the run that was chosen for it, and the dispatcher grants it
// later.
func TestNothingIsRefilledAfterARefusedOutcome(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.createAt("first", 4, 2)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		log.createAt("next", 8, 1)
		w.send(reportsRequest(reportOf(a, 1)))
		w.send(successOf(a, 2)) // Only one epoch is recorded.
		next := w.assignment()
		if worker := log.worker("worker"); next.GetAttempt() == a.GetAttempt() || worker.GetRuns() != 1 {
			t.Errorf("the worker has %d runs, and was assigned %v", worker.GetRuns(), next)
		}
	})
}

// withoutNotice makes the dispatcher miss what is proposed from now on, until its next look.
func (l *testLog) withoutNotice() { l.wake = func(*trellisv1.Command, any) {} }

// createSeveral adds a study of so many runs.
func (l *testLog) createSeveral(name string, latentDim uint32, runs int) {
	l.Helper()
	rates := []float64{0.1, 0.2, 0.3}
	l.createFrom(&trellisv1.StudySpec{
		Name: name, Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(latentDim), "max_epochs": trellisv1.AxisOf[uint32](1),
			"learning_rate": trellisv1.AxisOf(rates[:runs]...),
		}}},
	})
}

// Slots are refilled while the dispatcher's grants are being written. Both never choose the same run, nor the same slot.
func TestTwoChooseAtOnce(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.createSeveral("first", 4, 2)
		greeting := hello("busy")
		greeting.Slots = 2
		busy := connect(log, l, greeting)
		ending := busy.assignment()
		busy.assignment()
		connect(log, l, hello("free"))
		log.withoutNotice()
		log.createSeveral("next", 8, 3)

		all := func(p *pairing) results.Choice { return p }
		one := l.dispatcher.choose(nil, all)
		if one == nil || len(one.grants) != 1 || one.grants[0].GetWorker() != "free" {
			t.Fatalf("chosen for the free slot: %v", one)
		}
		other := l.dispatcher.refill([]received{{
			entry: &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{
				Outcome: successOf(ending, 1).GetOutcome(),
			}}, from: &session{worker: "busy"},
		}})
		if other == nil || len(other.grants) != 1 || other.grants[0].GetWorker() != "busy" {
			t.Fatalf("chosen for the slot that becomes free: %v", other)
		}
		if one.grants[0].GetRun() == other.grants[0].GetRun() {
			t.Errorf("both chose run %s", one.grants[0].GetRun())
		}
		// The slot that becomes free is none of those that are free now.
		if slots := l.dispatcher.chosen.slots; slots["busy"] != 0 || slots["free"] != 1 {
			t.Errorf("slots are taken of %v", slots)
		}
		if third := l.dispatcher.choose(nil, all); third != nil {
			t.Errorf("chosen for no slot: %v", third.grants)
		}
		one.done()
		other.done()
		if chosen := &l.dispatcher.chosen; len(chosen.runs)+len(chosen.slots) != 0 {
			t.Errorf("still chosen: %v for %v", chosen.runs, chosen.slots)
		}
	})
}

// A slot that becomes free is filled with the command that says so although another is free. Both get a run.
func TestAllFreeSlotsAreRefilled(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.createSeveral("first", 4, 1)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		idle := connect(log, l, hello("idle"))
		log.withoutNotice()
		log.createSeveral("next", 8, 2)
		together := 0
		log.hook(func(command *trellisv1.Command) {
			together += len(command.GetRecordAndGrant().GetGrant().GetGrants())
		})
		w.send(reportsRequest(reportOf(a, 1)))
		w.send(successOf(a, 1))
		synctest.Wait()
		if together != 2 {
			t.Errorf("%d runs were granted with the outcome, want 2", together)
		}
		w.assignment()
		idle.assignment()
	})
}
