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
	catalog, err := c.sections.catalog(study)
	if err != nil {
		return err
	}
	var waiting []handle
	for place := range len(catalog.Places) {
		h, err := c.sections.at(catalog, uint32(place))
		if err != nil {
			return err
		}
		if other := h.member(); other.Run.Epochs > 0 && !other.LacksObjective() {
			return nil
		}
		if h.run().State == lifecycle.RunPending {
			waiting = append(waiting, h)
		}
	}
	for _, h := range waiting {
		run := h.edit().Run
		run.State = lifecycle.Run.Must(run.State, lifecycle.Refuse)
		run.Error = fmt.Sprintf("another run of the study, %s, %s", its.Run.Id, message)
	}
	return nil
}
