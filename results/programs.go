package results

import (
	"fmt"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/lifecycle"
	"trellis/results/objective"
	"trellis/results/trajectory"
)

// What a spec declares of its program is checked by training runs again. See package auditing for what refutes it.

// repeats says whether an epoch of a run that is trained again has the same reports, as far as is known.
func (c *change) repeats(its *trajectory.Trajectory) (bool, error) {
	if !its.Terms.OfProgram() {
		return true, nil
	}
	refuted, err := c.hasRefuted(its.Run.Study, trellisv1.Declaration_DECLARATION_DETERMINISTIC)
	return !refuted && its.Terms.Repeatable(), err
}

// checksPrefix says whether the audit of a run, which was trained again with the same results, has a second part: whether
// a smaller max_epochs has the same results too. It is the smallest of the run's trials.
func (c *change) checksPrefix(its *trajectory.Trajectory) (bool, error) {
	if run := its.Run; !its.Terms.ChecksPrefix() || run.Milestones[0] >= run.Epochs {
		return false, nil
	}
	refuted, err := c.hasRefuted(its.Run.Study, trellisv1.Declaration_DECLARATION_PREFIX)
	return !refuted, err
}

func (c *change) hasRefuted(name string, declaration trellisv1.Declaration) (bool, error) {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(study.Refuted, func(r *trellisv1.Refutation) bool {
		return r.Declaration == declaration
	}), nil
}

// weighProgram returns the claim of a program's run that stands, or which declaration the claims refute.
func (c *change) weighProgram(
	held handle, epoch uint32, claims []*trellisv1.Claim,
) (*trellisv1.Claim, trellisv1.Declaration, error) {
	run := held.run()
	study, err := c.studies.get(textKey(run.Study))
	if err != nil {
		return nil, 0, err
	}
	ready, err := c.readyWorkers()
	if err != nil {
		return nil, 0, err
	}
	able := auditing.Able(study, slices.Collect(ready))
	alone := auditing.Alone(&trellisv1.Disagreement{Claims: claims}, able)
	var earlier *trellisv1.Disagreement
	if run.GetDispute().GetEpoch() > epoch {
		earlier = run.Dispute
	}
	failures := run.Failures
	if auditing.BeingAudited(run) {
		failures = run.GetAudit().GetFailures()
	}
	conflicts := 0
	for _, failure := range failures {
		if failure.Class == trellisv1.FailureClass_FAILURE_CLASS_CONFLICT {
			conflicts++
		}
	}
	standing, refuted := auditing.WeighProgram(claims, earlier, alone, conflicts)
	return standing, refuted, nil
}

// refute records that a program is not what its spec declares. What is recorded stays. If the attempt that holds the run
// audits it, that ends, and refute returns an error.
func (c *change) refute(
	held handle, declaration trellisv1.Declaration, epoch uint32, claims []*trellisv1.Claim, contradiction error,
) error {
	run, audited := held.run(), auditing.BeingAudited(held.run())
	study, err := c.studies.get(textKey(run.Study))
	if err != nil {
		return err
	}
	catalog, err := c.sections.catalog(run.Study)
	if err != nil {
		return err
	}
	milestone := 0
	if declaration == trellisv1.Declaration_DECLARATION_DETERMINISTIC {
		milestone, _ = slices.BinarySearch(run.Milestones, epoch)
		milestone = min(milestone, len(run.Milestones)-1)
	}
	trial := catalog.IndexesAt(catalog.PlaceOf(run))[milestone]
	others, err := c.othersWithRunsOf(run.Study)
	if err != nil {
		return err
	}
	study = c.studies.edit(study)
	study.Refuted = append(slices.Clip(study.Refuted),
		auditing.Refuted(declaration, run, trial, epoch, claims, others))
	if err := c.forgetRelatives(run.Study); err != nil {
		return err
	}
	runs, err := c.sections.unsealed(catalog)
	if err != nil {
		return err
	}
	for _, h := range runs {
		if declaration == trellisv1.Declaration_DECLARATION_DETERMINISTIC {
			h.acquit()
		} else if shorter := auditing.ShorterMaxEpochs(h.run()); shorter > 0 {
			c.endShorter(h, 0)
		}
	}
	if declaration == trellisv1.Declaration_DECLARATION_DETERMINISTIC {
		if err := c.acquitWorkers(study); err != nil {
			return err
		}
	}
	if !audited {
		return nil
	}
	return fmt.Errorf("%w: %w", contradiction, ErrConflict)
}

// othersWithRunsOf returns the names of the other studies that share runs with a study.
func (c *change) othersWithRunsOf(study string) ([]string, error) {
	its, err := c.familyOf(study)
	if err != nil || its == nil {
		return nil, err
	}
	own, err := c.sections.catalog(study)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, other := range its.family {
		if other.study == study {
			continue
		}
		theirs, err := c.sections.catalog(other.study)
		if err != nil {
			return nil, err
		}
		if common, err := c.haveCommon(own, theirs); err != nil {
			return nil, err
		} else if common {
			names = append(names, other.study)
		}
	}
	slices.Sort(names)
	return names, nil
}

// maxCompared is how many runs of a study are looked for in another, so that commands don't wait for it.
const maxCompared = 1 << 16

// haveCommon says whether two studies have a run in common, which relatives may have. Of studies that both have more runs than
// maxCompared it may say so wrongly.
func (c *change) haveCommon(a, b *catalog.Catalog) (bool, error) {
	if a.Runs() > b.Runs() {
		a, b = b, a
	}
	looked := 0
	for place := range a.BaseRuns() {
		if looked++; looked > maxCompared {
			return true, nil
		}
		if common, err := c.hasTwin(b, a.Base.Run(place)); common || err != nil {
			return common, err
		}
	}
	first, next := a.ListedPlaces()
	for place := first; place < next; place++ {
		if looked++; looked > maxCompared {
			return true, nil
		}
		h, err := c.sections.at(a, place)
		if err != nil {
			return false, err
		}
		if common, err := c.hasTwin(b, h.run()); common || err != nil {
			return common, err
		}
	}
	return false, nil
}

// hasTwin says whether a study has a run.
func (c *change) hasTwin(its *catalog.Catalog, run *trellisv1.Run) (bool, error) {
	place, ok := its.Twin(run)
	if !ok {
		return false, nil
	}
	twin, err := c.sections.at(its, place)
	if err != nil {
		return false, err
	}
	return twin.run().Id == run.Id, nil
}

// endShorter ends the second part of an audit, which has given the same results up to max_epochs, or has nothing to check
// any more if that is 0.
func (c *change) endShorter(h handle, maxEpochs uint32) {
	if auditing.Held(h.run()) {
		h.endAttempt(lifecycle.Release)
	}
	run := h.edit().Run
	run.Dispute = nil
	run.Audit = &trellisv1.Audit{
		State: trellisv1.AuditState_AUDIT_STATE_EQUAL, MaxEpochs: maxEpochs, Failures: run.Audit.Failures,
		Worker: run.Audit.Worker, Machine: run.Audit.Machine, SameMachine: run.Audit.SameMachine,
	}
}

// acquit drops what attempts at a run have disagreed on, and its audit, if that is still to be done: the program is not
// deterministic.
func (h handle) acquit() {
	run := h.run()
	if run.Dispute == nil && run.Decided == nil && !trajectory.AuditDue(run) {
		return
	}
	if auditing.BeingAudited(run) {
		h.endAttempt(lifecycle.Release)
	}
	run = h.edit().Run
	run.Dispute, run.Decided = nil, nil
	if trajectory.AuditDue(run) {
		run.Audit = nil
	}
}

// acquitWorkers forgets which workers were wrong about the runs of a study.
func (c *change) acquitWorkers(study *trellisv1.Study) error {
	study.Suspects = nil
	rows, err := scan[*trellisv1.Worker](c.reader, nil, tableWorkers, indexID, nil)
	if err != nil {
		return err
	}
	for row := range rows {
		worker, err := c.workers.get(workerKey(row))
		if err != nil {
			return err
		}
		if worker.GetWrong().GetStudy() == study.Name {
			c.workers.edit(worker).Wrong = nil
		}
	}
	return nil
}

// replace drops what is recorded of a run whose program is not deterministic from where its attempt reports other
// values on, and returns how many of the reports are of epochs that are recorded still. The values of the last attempt
// count, except for epochs of results that trials have already.
func (c *change) replace(held handle, reports *trellisv1.Reports, repeated int) int {
	place, contradiction := held.member().Contradiction(reports, repeated)
	if contradiction == nil {
		return repeated
	}
	before := reports.GetFirstEpoch() - 1
	c.shorten(held, before+uint32(place))
	return min(repeated, int(held.run().Epochs-before))
}

// shorten takes a run back to an epoch, as far as no trial's result is lost.
func (c *change) shorten(held handle, epochs uint32) {
	if held.edit().Shorten(epochs) {
		// Rungs that it had come to are made anew.
		c.takenBack[held.run().Study] = true
	}
}

// failWithoutObjective fails a run that has no value of the objective's metric, at the end of an attempt. If no other
// run of the study has any either, those that wait fail too: they would train in vain.
func (c *change) failWithoutObjective(held handle) error {
	its := held.member()
	message := its.WithoutObjective()
	if its.Run.Epochs < its.Run.Parameters.GetMaxEpochs() {
		message += fmt.Sprintf(" (in its first %d epochs)", its.Run.Epochs)
	}
	if err := c.failAttempt(held, trellisv1.FailureClass_FAILURE_CLASS_INPUT, message); err != nil {
		return err
	}
	if held.run().State == lifecycle.RunFailed {
		held.edit().Run.Error = message
	}
	return c.refuseWaiting(held, 1)
}

// failProgram records that an attempt at a run of a program has failed. If no worker can train the run as it is, nothing
// is where the program's command says, or what it reports is not what the protocol says: that is so for all runs of the
// study. It is likely so if several runs have failed for good before their first epoch.
func (c *change) failProgram(held handle, failure *trellisv1.Failure) error {
	const several = 3
	if err := c.failAttempt(held, failure.GetClass(), failure.GetMessage()); err != nil {
		return err
	}
	run, enough := held.run(), several
	if run.State != lifecycle.RunFailed {
		return nil
	}
	if failure.GetClass() == trellisv1.FailureClass_FAILURE_CLASS_INPUT {
		// Which worker it was does not matter, and so all such runs say the same.
		held.edit().Run.Error = strings.Clone(failure.GetMessage())
		enough = 1
	}
	return c.refuseWaiting(held, enough)
}

// refuseWaiting fails the runs of a study that wait, as they would be trained in vain after one has failed, if enough
// have and none has a value of the objective's metric.
func (c *change) refuseWaiting(after handle, enough int) error {
	study := after.run().Study
	catalog, err := c.sections.catalog(study)
	if err != nil {
		return err
	}
	// Sealed runs have succeeded.
	if sealed, err := c.hasSealed(study); err != nil || sealed {
		return err
	}
	failed := 0
	var waiting []handle
	runs, err := c.sections.touched(catalog)
	if err != nil {
		return err
	}
	for _, h := range runs {
		if other := h.member(); other.Run.Epochs > 0 && !other.LacksObjective() {
			return nil
		}
		switch h.run().State {
		case lifecycle.RunPending:
			waiting = append(waiting, h)
		case lifecycle.RunFailed:
			failed++
		}
	}
	if failed < enough {
		return nil
	}
	message := fmt.Sprintf("not trained, because trial %d failed and every run would fail the same way",
		catalog.IndexesAt(catalog.PlaceOf(after.run()))[0])
	if enough > 1 {
		message = fmt.Sprintf("not trained, because %d runs of the study failed and none has reported %s", failed,
			objective.Metric(after.member().Terms.Objective))
	}
	for _, h := range waiting {
		run := h.edit().Run
		run.State = lifecycle.Run.Must(run.State, lifecycle.Refuse)
		run.Error = message
	}
	return c.refuseUntouched(study, message)
}

// hasSealed says whether a study has sealed sections.
func (r reader) hasSealed(study string) (bool, error) {
	sections, err := r.sectionsOf(study)
	if err != nil {
		return false, err
	}
	for section := range sections {
		if section.sealed != nil {
			return true, nil
		}
	}
	return false, nil
}

// refuseUntouched fails the untouched runs of a study, as those that wait.
func (c *change) refuseUntouched(name, message string) error {
	study, err := c.studies.get(textKey(name))
	if err != nil || study.Untouched != nil {
		return err
	}
	runs, trials, epochs, err := c.untouched(study)
	if err != nil || runs == 0 {
		return err
	}
	study = c.studies.edit(study)
	study.Progress.RunsFailed += runs
	study.Progress.TrialsFailed += trials
	study.Progress.EpochsLeft -= epochs
	return c.setUntouched(study, &trellisv1.Untouched{
		State: lifecycle.TrialFailed, Error: message, ModifyIndex: c.index,
	})
}
