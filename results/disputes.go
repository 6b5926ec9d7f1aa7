package results

import (
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

const (
	// MaxDecided is how many decided disagreements of a run are remembered. Beyond that, the earliest is forgotten.
	MaxDecided = 16
	// MaxSuspects is how many suspects of a study are remembered.
	MaxSuspects = 1000
)

// trainsAgain says whether a run is trained again where an attempt contradicts what is recorded. By older rules it
// fails.
func (c *change) trainsAgain(run *trellisv1.Run) bool {
	return c.rules >= trajectory.TrainAgain || auditing.FromStart(run)
}

// training describes the attempt that holds a run, which agrees with what is recorded up to the epoch.
func (c *change) training(held handle, until uint32) (*trellisv1.Training, error) {
	run := held.run()
	for _, known := range run.Trainings {
		if known.Attempt == run.Attempt {
			return &trellisv1.Training{
				Attempt: known.Attempt, Worker: known.Worker, Machine: known.Machine, After: known.After,
				Until: min(known.Until, until),
			}, nil
		}
	}
	worker, err := c.workers.get(textKey(run.Worker))
	if err != nil {
		return nil, err
	}
	training := &trellisv1.Training{
		Attempt: run.Attempt, Worker: run.Worker, Machine: worker.Machine, After: min(run.AttemptEpochs, until),
		Until: until, MaxEpochs: auditing.ShorterMaxEpochs(run),
	}
	if training.MaxEpochs > 0 {
		training.After = 0
	}
	return training, nil
}

// compare compares reports with what is recorded, and has a disagreement decided, as far as that is possible. The first
// repeated reports are of epochs that are recorded. If it returns an error, the attempt has ended. Afterwards, the program
// may not be deterministic any more.
func (c *change) compare(held handle, reports *trellisv1.Reports, repeated int) error {
	its := held.member()
	run, first := its.Run, reports.GetFirstEpoch()
	last := first + uint32(trajectory.EpochsIn(reports)) - 1
	if auditing.FromStart(run) && first > run.AttemptEpochs+1 {
		return fmt.Errorf("only %d epochs have been compared: %w", run.AttemptEpochs, ErrGap)
	}
	place, contradiction := its.Contradiction(reports, repeated)
	epoch := first + uint32(place)
	switch {
	case contradiction != nil && place == repeated && run.State == lifecycle.RunLeased:
		// It has other metrics than the epochs before, and nothing is recorded of this one.
		return c.contest(held, contradiction)
	case contradiction == nil && last > run.Epochs && run.State == lifecycle.RunSucceeded:
		epoch = run.Epochs + 1
		contradiction = fmt.Errorf("recorded an end after %d epochs, reported epoch %d", run.Epochs, epoch)
	}
	disputed := run.GetDispute().GetEpoch()
	if disputed > run.AttemptEpochs && first <= disputed && disputed <= last &&
		(contradiction == nil || disputed <= epoch) {
		epoch = disputed
	} else if contradiction == nil {
		return nil
	}
	if err := c.note(held, first, epoch-1); err != nil {
		return err
	}
	training, err := c.training(held, epoch-1)
	if err != nil {
		return err
	}
	return c.weigh(held, epoch, auditing.Reported(training, reports, int(epoch-first)), contradiction)
}

// compareEnd compares the end of an attempt with what is recorded: see compare.
func (c *change) compareEnd(held handle, success *trellisv1.Outcome_Success, contradiction error) error {
	run, epochs := held.run(), success.GetEpochs()
	if auditing.FromStart(run) && epochs > run.AttemptEpochs {
		return fmt.Errorf("only %d of %d epochs have been compared: %w", run.AttemptEpochs, epochs, ErrGap)
	}
	if shorter := auditing.ShorterMaxEpochs(run); shorter > 0 && epochs >= shorter {
		return nil
	}
	early := epochs < run.Parameters.GetMaxEpochs() &&
		success.GetStopReason() != trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	disputed := run.GetDispute().GetEpoch() == epochs+1
	if epochs == run.Epochs && !disputed {
		if early {
			return c.note(held, epochs+1, epochs+1)
		}
		return nil
	}
	if epochs == run.Epochs {
		contradiction = nil
	}
	training, err := c.training(held, epochs)
	if err != nil {
		return err
	}
	return c.weigh(held, epochs+1, auditing.Ended(training, success), contradiction)
}

// note records that the attempt that holds a run has reported epochs as they are recorded.
func (c *change) note(held handle, first, last uint32) error {
	if auditing.ShorterMaxEpochs(held.run()) > 0 {
		return nil // It has trained something else.
	}
	run := held.edit().Run
	if trajectory.NoteTraining(run, first, last) || last < first {
		return nil
	}
	worker, err := c.workers.get(textKey(run.Worker))
	if err != nil {
		return err
	}
	trajectory.BeginTraining(run, worker.Machine, first, last)
	return nil
}

// weigh adds the claim of the attempt that holds the run to what others have claimed of the epoch, and decides what
// stands, if it can. If the attempt's claim stands, it goes on: what is recorded has been corrected. Otherwise it ends,
// and weigh returns an error.
func (c *change) weigh(held handle, epoch uint32, mine *trellisv1.Claim, contradiction error) error {
	its := held.member()
	run, recorded := its.Run, auditing.Recorded(its, epoch)
	claims := run.GetDispute().GetClaims()
	if run.GetDispute().GetEpoch() != epoch {
		claims = recorded
	}
	claims = auditing.With(claims, mine)
	if c.rules >= trajectory.CountAudits {
		claims = auditing.Latest(claims)
	}
	if contradiction == nil {
		contradiction = fmt.Errorf("epoch %d: reported losses that no other machine has confirmed", epoch)
	}
	var standing *trellisv1.Claim
	if its.Terms.OfProgram() {
		stands, refuted, err := c.weighProgram(held, epoch, claims)
		if err != nil {
			return err
		}
		if refuted != trellisv1.Declaration_DECLARATION_UNSPECIFIED {
			return c.refute(held, refuted, epoch, claims, contradiction)
		}
		standing = stands
	} else {
		standing = auditing.Decide(claims)
	}
	if standing == nil {
		held.edit().Run.Dispute = &trellisv1.Disagreement{Epoch: epoch, Claims: claims}
		return c.contest(held, contradiction)
	}
	if err := c.conclude(held, epoch, claims, standing); err != nil {
		return err
	}
	if !auditing.Same(mine, standing) {
		return c.contest(held, contradiction)
	}
	if dispute := held.run().Dispute; dispute.GetEpoch() >= epoch {
		held.edit().Run.Dispute = nil
	}
	if auditing.Same(recorded[0], standing) {
		if held.edit().Retest(mine.GetLosses()) {
			c.takenBack[run.Study] = true
		}
		return c.note(held, epoch, epoch)
	}
	return c.overturn(held, epoch, claims, mine)
}

// contest ends the attempt that holds the run, which contradicts what is recorded, and returns ErrConflict. Its weights
// may be as wrong as its losses, or as those that it contradicts. Those of a program are kept until it is decided that
// somebody was wrong: it may turn out that nobody was. By rules before trajectory.CountAudits, an attempt that audits may
// do so any number of times.
func (c *change) contest(held handle, contradiction error) error {
	if auditing.BeingAudited(held.run()) && c.rules < trajectory.CountAudits {
		held.endAttempt(lifecycle.Release)
	} else if err := c.failAttempt(held, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT, contradiction.Error()); err != nil {
		return err
	}
	if !held.member().Terms.OfProgram() {
		trajectory.DropWeights(held.edit().Run)
	}
	return fmt.Errorf("%w: %w", contradiction, ErrConflict)
}

// conclude records what a disagreement has come to, and who was wrong.
func (c *change) conclude(held handle, epoch uint32, claims []*trellisv1.Claim, standing *trellisv1.Claim) error {
	run := held.edit().Run
	decided, suspects := auditing.Decided(epoch, claims, standing, run.Trainings)
	all := append(slices.Clip(run.GetDecided().GetDisagreements()), decided)
	if held.member().Terms.OfProgram() && auditing.ShorterMaxEpochs(run) == 0 {
		trajectory.DropWeights(run)
	}
	run.Decided = &trellisv1.Disagreements{Disagreements: all[max(0, len(all)-MaxDecided):]}
	for _, claim := range decided.Claims {
		if !claim.Wrong {
			continue
		}
		worker, err := c.workers.get(textKey(claim.Training.Worker))
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		c.workers.edit(worker).Wrong = &trellisv1.WrongLosses{Study: run.Study, Run: run.Id, Epoch: epoch}
	}
	study, err := c.studies.get(textKey(run.Study))
	if err != nil {
		return err
	}
	for _, suspect := range suspects {
		if slices.Contains(study.Suspects, suspect.Worker) || len(study.Suspects) == MaxSuspects {
			continue
		}
		study = c.studies.edit(study)
		study.Suspects = append(slices.Clip(study.Suspects), suspect.Worker)
		if !slices.Contains(c.suspected, study.Name) {
			c.suspected = append(c.suspected, study.Name)
		}
	}
	return nil
}

// overturn replaces what is recorded from an epoch on by what the attempt that holds the run reports, whose claim
// stands. Runs of other studies that have copied what was wrong are taken back too.
func (c *change) overturn(held handle, epoch uint32, claims []*trellisv1.Claim, mine *trellisv1.Claim) error {
	lost := auditing.Recorded(held.member(), epoch)[0]
	edited := held.edit()
	run := edited.Run
	// These are of this attempt alone: see endAttempt.
	checkpoints, missing := run.Checkpoints, run.MissingWeights
	run.State = lifecycle.Run.Must(run.State, lifecycle.Overturn)
	edited.Truncate(epoch - 1)
	run.Checkpoints, run.MissingWeights = checkpoints, missing
	for _, claim := range claims {
		if auditing.Same(claim, mine) {
			trajectory.Vouch(run, claim.GetTraining().GetAttempt(), epoch)
		}
	}
	if err := c.taken(run.Study); err != nil {
		return err
	}
	its, err := c.familyOf(run.Study)
	if err != nil || its == nil {
		return err
	}
	return c.takeBackTwins(its, run, epoch, lost)
}

// taken notes that runs of a study have been taken back.
func (c *change) taken(name string) error {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return err
	}
	if study.Settled {
		c.studies.edit(study).Settled = false
	}
	c.takenBack[name] = true
	return nil
}

// takeBackTwins takes back the runs of other studies that have what was wrong of a run.
func (c *change) takeBackTwins(its *relatives, run *trellisv1.Run, epoch uint32, lost *trellisv1.Claim) error {
	twins, err := c.twins(its, run)
	if err != nil {
		return err
	}
	for _, twin := range twins {
		member := twin.member()
		if twin.study == run.Study || !hasPassed(member.Run, epoch, lost) ||
			!auditing.Same(auditing.Recorded(member, epoch)[0], lost) {
			continue
		}
		if err := c.takeBack(twin.handle, epoch-1); err != nil {
			return err
		}
	}
	return nil
}

// hasPassed says whether the claim is about something that is recorded of a run.
func hasPassed(run *trellisv1.Run, epoch uint32, lost *trellisv1.Claim) bool {
	if lost.GetEnded() == nil {
		return run.Epochs >= epoch
	}
	return run.State == lifecycle.RunSucceeded && run.Epochs == epoch-1 && run.Epochs < run.Parameters.GetMaxEpochs()
}

// takeBack takes a run back to an epoch, from which it is trained again, unless its study is canceled. A study that was
// COMPLETED runs again.
func (c *change) takeBack(h handle, epochs uint32) error {
	if auditing.Held(h.run()) {
		h.endAttempt(lifecycle.Release)
	}
	edited := h.edit()
	run := edited.Run
	study, err := c.studies.get(textKey(run.Study))
	if err != nil {
		return err
	}
	switch {
	case study.State == lifecycle.StudyCanceled && run.State == lifecycle.RunSucceeded:
		run.State = lifecycle.Run.Must(lifecycle.Run.Must(run.State, lifecycle.TakeBack), lifecycle.Cancel)
	case study.State == lifecycle.StudyCanceled:
	case run.State == lifecycle.RunSucceeded, run.State == lifecycle.RunPruned:
		run.State = lifecycle.Run.Must(run.State, lifecycle.TakeBack)
		if err := c.reopen(study); err != nil {
			return err
		}
	}
	edited.Truncate(epochs)
	if run.GetDispute().GetEpoch() > epochs {
		run.Dispute = nil
	}
	return c.taken(run.Study)
}
