package results

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// RetryStudy retries the FAILED runs of a study that is RUNNING, PAUSED or COMPLETED and, if pruned is true, its PRUNED
// runs too. They become PENDING, and continue from what is recorded. A COMPLETED study becomes RUNNING again.
//
// Runs that are disputed, and those that failed because their attempts disagreed, are trained again from the start, by any
// worker. What is recorded of them is dropped, and so is what other studies have copied of it. A run that a worker trains
// again at the moment is left alone. By rules before trajectory.TrainAgain, nothing is dropped.
//
// Failures are forgotten, so that every budget starts again. Whoever asks for a retry implies that the cause has been
// found and removed, and a run with a single attempt left would fail at the first problem. A run that was pruned is not
// judged again. A study that has been settled is settled again, because the retried runs may be tied with the best.
//
// RetryStudy returns how many runs are retried. It fails with ErrNotFound, and with ErrIllegalMove if the study is
// CANCELED or has no such runs.
func (s *Store) RetryStudy(
	index uint64, now *timestamppb.Timestamp, rules trajectory.Rules, name string, pruned bool,
) (runs uint64, err error) {
	c := s.begin(index, now)
	defer c.abort()
	c.rules = rules
	if runs, err = c.retryStudy(name, pruned); err != nil {
		return 0, refusal("retry", name, err)
	}
	return runs, c.commit()
}

func (c *change) retryStudy(name string, pruned bool) (runs uint64, err error) {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return 0, err
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	catalog, err := c.sections.catalog(name)
	if err != nil {
		return 0, err
	}
	touched, err := c.sections.unsealed(catalog)
	if err != nil {
		return 0, err
	}
	for _, run := range touched {
		if c.rules >= trajectory.TrainAgain && isContested(run.run()) {
			if err := c.startAgain(run); err != nil {
				return 0, err
			}
			runs++
			continue
		}
		state := run.run().State
		if state == lifecycle.RunFailed || pruned && state == lifecycle.RunPruned {
			run.retry()
			runs++
		}
	}
	refused, err := c.retryUntouched(study)
	if err != nil {
		return 0, err
	}
	if runs += refused; runs > 0 {
		c.studies.edit(study).Settled = false
		return runs, nil
	}
	what := "have failed"
	if pruned {
		what = "have failed or were pruned"
	}
	return 0, fmt.Errorf("none of its runs %s: %w", what, ErrIllegalMove)
}

// retryUntouched makes the untouched runs of a study PENDING that have failed with others, and returns how many these are.
func (c *change) retryUntouched(study *trellisv1.Study) (runs uint64, err error) {
	if study.GetUntouched().GetState() != lifecycle.TrialFailed {
		return 0, nil
	}
	runs, trials, epochs, err := c.untouched(study)
	if err != nil {
		return 0, err
	}
	study = c.studies.edit(study)
	study.Progress.RunsFailed -= runs
	study.Progress.TrialsFailed -= trials
	study.Progress.EpochsLeft += epochs
	if err := c.setUntouched(study, nil); err != nil {
		return 0, err
	}
	// What other studies have got of them meanwhile they have not learned.
	its, err := c.sections.catalog(study.Name)
	if err != nil {
		return 0, err
	}
	return runs, c.shareTouched(its, 0, false)
}

// retry makes a run PENDING that has ended without results for all of its trials.
func (h handle) retry() {
	run := h.edit().Run
	run.Spared = run.Spared || run.State == lifecycle.RunPruned
	run.State = lifecycle.Run.Must(run.State, lifecycle.Retry)
	run.Failures, run.Error = nil, ""
}

// isContested says whether attempts at a run disagree, and nobody is deciding it at the moment.
func isContested(run *trellisv1.Run) bool {
	if run.Dispute != nil {
		return !auditing.Held(run)
	}
	return run.State == lifecycle.RunFailed && slices.ContainsFunc(run.Failures, func(failure *trellisv1.Failure) bool {
		return failure.Class == trellisv1.FailureClass_FAILURE_CLASS_CONFLICT
	})
}

// startAgain drops what is recorded of a run whose attempts disagree, so that it is trained anew.
func (c *change) startAgain(h handle) error {
	run, its := h.run(), h.member()
	epoch := max(run.GetDispute().GetEpoch(), 1)
	var lost *trellisv1.Claim
	if run.Epochs > 0 {
		lost = auditing.Recorded(its, epoch)[0]
	}
	switch run.State {
	case lifecycle.RunFailed:
		h.retry()
	case lifecycle.RunSucceeded:
		h.edit().Run.State = lifecycle.Run.Must(run.State, lifecycle.TakeBack)
	}
	edited := h.edit()
	edited.Truncate(0)
	edited.Run.Dispute, edited.Run.Failures = nil, nil
	if err := c.taken(run.Study); err != nil {
		return err
	}
	family, err := c.familyOf(run.Study)
	if err != nil || family == nil || run.Epochs == 0 {
		return err
	}
	return c.takeBackTwins(family, run, epoch, lost)
}
