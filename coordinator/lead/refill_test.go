package lead

import (
	"testing"
	"testing/synctest"

	trellisv1 "trellis/proto/trellis/v1"
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
	for name, test := range map[string]struct {
		pruning *trellisv1.Pruning
		want    bool
	}{
		"models": {want: true},
		"pruning": {pruning: &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
			Asha: &trellisv1.SuccessiveHalving{MinEpochs: 1, ReductionFactor: 2},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			leading(t, func(l *Leader, log *testLog) {
				log.createAt("first", 4, 1)
				w := connect(log, l, hello("worker"))
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
