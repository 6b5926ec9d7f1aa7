package results

import (
	"fmt"
	"slices"

	"github.com/hashicorp/go-memdb"
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

// A run that has succeeded and is to be audited is granted once more. It stays SUCCEEDED, so that its trials have their
// results meanwhile. What the second attempt reports is compared, and nothing of it is recorded, unless it turns out
// that the first was wrong.

// tableDue has, by study and place, SUCCEEDED runs that are to be audited.
const tableDue = "due"

func dueSchema() *memdb.TableSchema {
	return tableSchema(tableDue, index(indexID, func(w *waiting) key { return sectionKey(w.study, w.number) }))
}

// audit says of the runs that have succeeded in this change whether they are to be audited, and of all runs of the
// studies that have new suspects.
func (c *change) audit() error {
	for _, edit := range c.sections.inOrder {
		if edit.after == nil {
			continue
		}
		for slot, member := range edit.after.members {
			if !edit.changed(slot) {
				continue
			}
			stored := edit.stored(slot)
			switch h, run := (handle{edit, slot}), member.Run; {
			case run.State != lifecycle.RunSucceeded && run.Audit != nil:
				edited := h.edit().Run
				if auditing.ShorterDispute(edited) {
					edited.Dispute = nil
				}
				edited.Audit = nil
			case run.State == lifecycle.RunSucceeded && run.Audit == nil &&
				(stored == nil || stored.Run.State != lifecycle.RunSucceeded):
				due, err := c.auditIsDue(member)
				if err != nil {
					return err
				}
				if due {
					h.toAudit()
				}
			}
		}
	}
	for _, name := range c.suspected {
		catalog, err := c.sections.catalog(name)
		if err != nil {
			return err
		}
		members, err := c.sections.members(catalog)
		if err != nil {
			return err
		}
		for place, member := range members {
			due, err := c.auditIsDue(member)
			if err != nil {
				return err
			}
			if !due {
				continue
			}
			h, err := c.sections.at(catalog, place)
			if err != nil {
				return err
			}
			h.toAudit()
		}
	}
	return nil
}

// toAudit has a run audited.
func (h handle) toAudit() {
	h.edit().Run.Audit = &trellisv1.Audit{State: trellisv1.AuditState_AUDIT_STATE_DUE}
}

// auditIsDue says whether a run is to be audited: it has succeeded, and belongs to the sample or a suspect has trained it,
// unless that has been done, or is to be anyway.
func (c *change) auditIsDue(its *trajectory.Trajectory) (bool, error) {
	run := its.Run
	if run.State != lifecycle.RunSucceeded {
		return false, nil
	}
	if repeats, err := c.repeats(its); err != nil || !repeats {
		return false, err
	}
	study, err := c.studies.get(textKey(run.Study))
	if err != nil {
		return false, err
	}
	share, due := study.GetSpec().GetAudit(), false
	switch run.GetAudit().GetState() {
	case trellisv1.AuditState_AUDIT_STATE_UNSPECIFIED:
		if share > 0 {
			catalog, err := c.sections.catalog(run.Study)
			if err != nil {
				return false, err
			}
			due = auditing.Sampled(share, run.Id, catalog.Smallest())
		}
		due = due || auditing.TrainedBy(run, study.Suspects)
	case trellisv1.AuditState_AUDIT_STATE_EQUAL:
		// Suspects have confirmed one another.
		due = !slices.ContainsFunc(run.Trainings, func(t *trellisv1.Training) bool {
			return !slices.Contains(study.Suspects, t.Worker)
		})
	}
	return due, nil
}

// compared ends the audit of a run whose second training has ended as the first one, or starts its second part: see
// checksPrefix. It returns ErrGap if not all epochs have been compared.
func (c *change) compared(held handle) error {
	run, shorter := held.run(), auditing.ShorterMaxEpochs(held.run())
	epochs := run.Epochs
	if shorter > 0 {
		epochs = min(epochs, shorter)
	}
	if run.AttemptEpochs < epochs {
		return fmt.Errorf("only %d of %d epochs have been compared: %w", run.AttemptEpochs, epochs, ErrGap)
	}
	if shorter > 0 {
		c.endShorter(held, shorter)
		return nil
	}
	worker, err := c.workers.get(textKey(run.Worker))
	if err != nil {
		return err
	}
	earlier := &trellisv1.Run{Trainings: slices.DeleteFunc(slices.Clone(run.Trainings),
		func(t *trellisv1.Training) bool { return t.Attempt == run.Attempt })}
	audit := &trellisv1.Audit{
		State: trellisv1.AuditState_AUDIT_STATE_EQUAL, Worker: run.Worker, Machine: worker.Machine,
		SameMachine: auditing.TrainedOn(earlier, run.Worker, worker.Machine), Failures: run.GetAudit().GetFailures(),
	}
	checks, err := c.checksPrefix(held.member())
	if err != nil {
		return err
	}
	if checks {
		audit.State, audit.MaxEpochs = trellisv1.AuditState_AUDIT_STATE_DUE, run.Milestones[0]
		audit.Failures = nil
	}
	held.endAttempt(lifecycle.Release).Run.Audit = audit
	return nil
}

// failAudit ends the attempt that audits a run as a failure. The run is audited again, unless the budget is used up.
func (c *change) failAudit(h handle, class trellisv1.FailureClass, message string) error {
	run := h.run()
	worker, err := c.workers.get(textKey(run.Worker))
	if err != nil {
		return err
	}
	ready, err := c.readyWorkersFor(run.Study)
	if err != nil {
		return err
	}
	attempt := trajectory.CopyRun(run)
	attempt.Failures = run.Audit.Failures
	failures, verdict, err := c.rules.Fail(attempt, worker.Machine, class, message, ready)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	audit := &trellisv1.Audit{
		State: run.Audit.State, Failures: failures, Error: verdict, MaxEpochs: run.Audit.MaxEpochs,
		Worker: run.Audit.Worker, Machine: run.Audit.Machine, SameMachine: run.Audit.SameMachine,
	}
	if verdict != "" {
		audit.State = trellisv1.AuditState_AUDIT_STATE_GIVEN_UP
	}
	h.endAttempt(lifecycle.Release).Run.Audit = audit
	return nil
}

// auditable says whether a run that has succeeded may be granted once more.
func auditable(run *trellisv1.Run) bool { return trajectory.AuditDue(run) && !auditing.Held(run) }
