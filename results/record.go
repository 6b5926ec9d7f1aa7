package results

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Record takes in what workers have reported, in the given order and in one transaction. It returns one error per
// entry: nil where the entry was accepted.
//
// An entry whose attempt does not hold its run is refused with ErrStale: the first outcome of an attempt wins, and an
// attempt whose study was paused, canceled or deleted is none.
//
// Reports are a column of consecutive epochs, accepted or refused as a whole. They are appended from the next epoch on,
// and answer the trials whose max_epochs they reach. Epochs of them that are recorded already must be equal bit for
// bit, and change no result: a new attempt may start from an earlier epoch. If one differs it is an ErrConflict, which
// ends the attempt: see ErrConflict. Reports that begin after the next epoch are an ErrGap. Columns that are empty or
// of different lengths, epochs outside the run and test losses of epochs outside the columns are ErrInvalid, and so are
// metrics that have not one value per epoch, are too many or have names that are none: see checkMetrics. A run has the
// same metrics at all epochs: others are an ErrConflict. Seconds that are not a positive number count as none.
//
// A checkpoint takes the place of an earlier one of the same epoch. Kept are those at milestones and the one of the
// latest epoch. One of an epoch that is not recorded yet is an ErrGap; one of an epoch outside the run, with best
// weights of a later epoch or without a digest is ErrInvalid.
//
// A success answers all the trials that are left, unless the attempt was only to come so far: see Stage. It must count
// the epochs that are recorded: if it counts more it is an ErrGap, if it counts fewer an ErrConflict. A failure is
// charged to the budget of its class; a class that is unknown is ErrInvalid. A return costs nothing.
//
// In a study that prunes, what has been recorded may hold runs, and take up others again: see the package.
func (s *Store) Record(index uint64, now *timestamppb.Timestamp, entries []*trellisv1.RecordCommand_Entry) []error {
	c := s.begin(index, now)
	defer c.abort()
	refused := make([]error, len(entries))
	for i, entry := range entries {
		refused[i] = c.record(entry)
	}
	if err := c.commit(); err != nil {
		for i := range refused {
			refused[i] = errors.Join(refused[i], err)
		}
	}
	return refused
}

func (c *change) record(entry *trellisv1.RecordCommand_Entry) error {
	switch entry := entry.GetEntry().(type) {
	case *trellisv1.RecordCommand_Entry_Reports:
		if err := c.report(entry.Reports); err != nil {
			return fmt.Errorf("report %s of run %s of study %s: %w",
				epochsOf(entry.Reports), entry.Reports.GetRun(), entry.Reports.GetStudy(), err)
		}
		return nil
	case *trellisv1.RecordCommand_Entry_Outcome:
		if err := c.outcome(entry.Outcome); err != nil {
			return fmt.Errorf("end attempt %d at run %s of study %s: %w",
				entry.Outcome.GetAttempt(), entry.Outcome.GetRun(), entry.Outcome.GetStudy(), err)
		}
		return nil
	case *trellisv1.RecordCommand_Entry_Checkpoint:
		if err := c.checkpoint(entry.Checkpoint); err != nil {
			return fmt.Errorf("note the checkpoint of epoch %d of run %s of study %s: %w",
				entry.Checkpoint.GetCheckpoint().GetEpoch(), entry.Checkpoint.GetRun(), entry.Checkpoint.GetStudy(), err)
		}
		return nil
	default:
		return fmt.Errorf("an entry that is neither reports, outcome nor checkpoint: %w", ErrInvalid)
	}
}

// epochsOf names the epochs of reports, for errors.
func epochsOf(reports *trellisv1.Reports) string {
	if len(reports.GetTrainLoss()) == 1 {
		return fmt.Sprintf("epoch %d", reports.GetFirstEpoch())
	}
	return fmt.Sprintf("%d epochs from %d", len(reports.GetTrainLoss()), reports.GetFirstEpoch())
}

// heldRun returns the run if the attempt holds it.
func (c *change) heldRun(study, id string, attempt uint64) (handle, error) {
	held, err := c.sections.find(study, id)
	if isNotFound(err) {
		return held, fmt.Errorf("there is no such run: %w", ErrStale)
	}
	if err != nil {
		return held, err
	}
	run := held.run()
	if run.State != lifecycle.RunLeased {
		return held, fmt.Errorf("the run is %s: %w", lifecycle.Name(run.State), ErrStale)
	}
	if run.Attempt != attempt {
		return held, fmt.Errorf("attempt %d, not %d, holds the run: %w", run.Attempt, attempt, ErrStale)
	}
	return held, nil
}

func (c *change) report(reports *trellisv1.Reports) error {
	held, err := c.heldRun(reports.GetStudy(), reports.GetRun(), reports.GetAttempt())
	if err != nil {
		return err
	}
	run, its := held.run(), held.member()
	if err := trajectory.CheckReports(run, reports); err != nil {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	firstEpoch, count := reports.GetFirstEpoch(), len(reports.GetTrainLoss())
	if firstEpoch > run.Epochs+1 {
		return fmt.Errorf("%d epochs are recorded: %w", run.Epochs, ErrGap)
	}
	repeated := min(count, int(run.Epochs+1-firstEpoch))
	if err := its.Contradiction(reports, repeated); err != nil {
		return c.conflict(held, err)
	}
	edited := held.edit()
	edited.Run.AttemptEpochs = max(edited.Run.AttemptEpochs, firstEpoch+uint32(count)-1)
	if repeated == count {
		return nil
	}
	indexes, err := c.indexesOf(edited.Run)
	if err != nil {
		return err
	}
	edited.Append(reports, repeated, indexes)
	return nil
}

// conflict fails the attempt that holds the run, for what it has contradicted, and returns ErrConflict.
func (c *change) conflict(held handle, contradiction error) error {
	if err := c.failAttempt(held, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT, contradiction.Error()); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", contradiction, ErrConflict)
}

func (c *change) outcome(outcome *trellisv1.Outcome) error {
	held, err := c.heldRun(outcome.GetStudy(), outcome.GetRun(), outcome.GetAttempt())
	if err != nil {
		return err
	}
	switch result := outcome.GetResult().(type) {
	case *trellisv1.Outcome_Success_:
		return c.success(held, result.Success)
	case *trellisv1.Outcome_Failure:
		return c.failAttempt(held, result.Failure.GetClass(), result.Failure.GetMessage())
	case *trellisv1.Outcome_Return_:
		held.endAttempt(lifecycle.Release)
		return nil
	default:
		return fmt.Errorf("an outcome without a result: %w", ErrInvalid)
	}
}

func (c *change) success(held handle, success *trellisv1.Outcome_Success) error {
	run, epochs := held.run(), success.GetEpochs()
	switch {
	case epochs == 0:
		return fmt.Errorf("a run of no epochs: %w", ErrInvalid)
	case epochs > run.Epochs:
		return fmt.Errorf("%d epochs are recorded, %d were trained: %w", run.Epochs, epochs, ErrGap)
	case epochs < run.Epochs:
		return c.conflict(held, fmt.Errorf("recorded %d epochs, reported an end after %d", run.Epochs, epochs))
	}
	if epochs < run.Parameters.GetMaxEpochs() && success.GetStopReason() == trellisv1.StopReason_STOP_REASON_MAX_EPOCHS {
		held.endAttempt(lifecycle.Release)
		return nil
	}
	edited := held.endAttempt(lifecycle.Succeed)
	edited.Run.StopReason = success.GetStopReason()
	return c.answerRest(edited)
}

// answerRest answers the trials that are left of a run that has ended.
func (c *change) answerRest(edited *trajectory.Trajectory) error {
	indexes, err := c.indexesOf(edited.Run)
	if err != nil {
		return err
	}
	edited.AnswerRest(indexes)
	return nil
}

// indexesOf are those of a run's trials, by milestone.
func (c *change) indexesOf(run *trellisv1.Run) ([]uint64, error) {
	catalog, err := c.sections.catalog(run.Study)
	if err != nil {
		return nil, err
	}
	return catalog.indexesAt(catalog.places[run.Id]), nil
}
