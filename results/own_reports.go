package results

import (
	"fmt"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

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
	study, message := its.Run.Study, its.WithoutObjective()
	if its.Run.Epochs < its.Run.Parameters.GetMaxEpochs() {
		message += fmt.Sprintf(" (in its first %d epochs)", its.Run.Epochs)
	}
	if err := c.failAttempt(held, trellisv1.FailureClass_FAILURE_CLASS_INPUT, message); err != nil {
		return err
	}
	if held.run().State == lifecycle.RunFailed {
		held.edit().Run.Error = message
	}
	return c.refuseWaiting(study, 1, fmt.Sprintf("another run of the study, %s, %s", its.Run.Id, message))
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
		enough = 1
	}
	return c.refuseWaiting(run.Study, enough,
		fmt.Sprintf("another run of the study, %s, failed: %s", run.Id, failure.GetMessage()))
}

// refuseWaiting fails the runs of a study that wait, as they would be trained in vain, if enough runs have failed and
// none has a value of the objective's metric.
func (c *change) refuseWaiting(study string, enough int, message string) error {
	catalog, err := c.sections.catalog(study)
	if err != nil {
		return err
	}
	failed := 0
	var waiting []handle
	for place := range len(catalog.Places) {
		h, err := c.sections.at(catalog, uint32(place))
		if err != nil {
			return err
		}
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
	for _, h := range waiting {
		run := h.edit().Run
		run.State = lifecycle.Run.Must(run.State, lifecycle.Refuse)
		run.Error = message
	}
	return nil
}
