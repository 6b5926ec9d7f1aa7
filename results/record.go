package results

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// Record takes in what workers have reported, in the given order and in one transaction. It returns one error per
// entry: nil where the entry was accepted.
//
// An entry whose attempt does not hold its run is refused with ErrStale: the first outcome of an attempt wins, and an
// attempt whose study was paused, canceled or deleted is none.
//
// A report of the next epoch is appended. It answers the trial whose max_epochs it is. A report of an epoch that is
// recorded already must equal it bit for bit, and changes no result: a new attempt may start from the first epoch. If it
// differs it is an ErrConflict, which ends the attempt: see ErrConflict. A report of a later epoch is an ErrGap. An epoch
// outside the run is ErrInvalid.
//
// A success answers all the trials that are left. It must count the epochs that are recorded: if it counts more it is an
// ErrGap, if it counts fewer an ErrConflict. A failure is charged to the budget of its class; a class that is unknown is
// ErrInvalid. A return costs nothing.
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
	case *trellisv1.RecordCommand_Entry_Report:
		if err := c.report(entry.Report); err != nil {
			return fmt.Errorf("report epoch %d of run %s of study %s: %w",
				entry.Report.GetEpoch(), entry.Report.GetRun(), entry.Report.GetStudy(), err)
		}
		return nil
	case *trellisv1.RecordCommand_Entry_Outcome:
		if err := c.outcome(entry.Outcome); err != nil {
			return fmt.Errorf("end attempt %d at run %s of study %s: %w",
				entry.Outcome.GetAttempt(), entry.Outcome.GetRun(), entry.Outcome.GetStudy(), err)
		}
		return nil
	default:
		return fmt.Errorf("an entry that is neither report nor outcome: %w", ErrInvalid)
	}
}

// heldRun returns the run if the attempt holds it.
func (c *change) heldRun(study, id string, attempt uint64) (*trellisv1.Run, error) {
	run, err := c.runs.get(textsKey(study, id))
	if isNotFound(err) {
		return nil, fmt.Errorf("there is no such run: %w", ErrStale)
	}
	if err != nil {
		return nil, err
	}
	if run.State != runLeased {
		return nil, fmt.Errorf("the run is %s: %w", stateName(run.State), ErrStale)
	}
	if run.Attempt != attempt {
		return nil, fmt.Errorf("attempt %d, not %d, holds the run: %w", run.Attempt, attempt, ErrStale)
	}
	return run, nil
}

func (c *change) report(report *trellisv1.Report) error {
	run, err := c.heldRun(report.GetStudy(), report.GetRun(), report.GetAttempt())
	if err != nil {
		return err
	}
	epoch := report.GetEpoch()
	if epoch == 0 || epoch > run.Parameters.GetMaxEpochs() {
		return fmt.Errorf("the run's epochs are 1 to %d: %w", run.Parameters.GetMaxEpochs(), ErrInvalid)
	}
	if epoch > run.Epochs+1 {
		return fmt.Errorf("%d epochs are recorded: %w", run.Epochs, ErrGap)
	}
	losses, err := c.lossesOf(run)
	if err != nil {
		return err
	}
	if epoch <= run.Epochs {
		if err := checkRepeat(losses, report); err != nil {
			return c.conflict(run, err)
		}
		c.runs.edit(run).AttemptEpochs = max(run.AttemptEpochs, epoch)
		return nil
	}
	var trial *trellisv1.Trial
	if _, milestone := slices.BinarySearch(run.Milestones, epoch); milestone {
		if trial, err = c.trialAt(run, epoch); err != nil {
			return err
		}
	}
	c.appendLosses(run, losses, report)
	run = c.runs.edit(run)
	run.Epochs, run.AttemptEpochs = epoch, epoch
	run.TrainLoss, run.ValidationLoss = report.GetTrainLoss(), report.GetValidationLoss()
	run.TrainingSeconds += max(0, report.GetElapsed().AsDuration().Seconds())
	if improves(run, report.GetValidationLoss()) {
		run.BestValidationLoss, run.BestEpoch = proto.Float64(report.GetValidationLoss()), epoch
	}
	if trial == nil {
		return nil
	}
	return c.answer(trial, run, report.TestLoss)
}

// conflict fails the attempt that holds the run, for what it has contradicted, and returns ErrConflict.
func (c *change) conflict(run *trellisv1.Run, contradiction error) error {
	if err := c.failAttempt(run, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT, contradiction.Error()); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", contradiction, ErrConflict)
}

// improves says whether a validation loss is the run's lowest. One that is not finite never is; among equals the earliest
// stays.
func improves(run *trellisv1.Run, loss float64) bool {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return false
	}
	return run.BestValidationLoss == nil || loss < *run.BestValidationLoss
}

func (c *change) outcome(outcome *trellisv1.Outcome) error {
	run, err := c.heldRun(outcome.GetStudy(), outcome.GetRun(), outcome.GetAttempt())
	if err != nil {
		return err
	}
	switch result := outcome.GetResult().(type) {
	case *trellisv1.Outcome_Success_:
		return c.success(run, result.Success)
	case *trellisv1.Outcome_Failure:
		return c.failAttempt(run, result.Failure.GetClass(), result.Failure.GetMessage())
	case *trellisv1.Outcome_Return_:
		c.endAttempt(run, release)
		return nil
	default:
		return fmt.Errorf("an outcome without a result: %w", ErrInvalid)
	}
}

func (c *change) success(run *trellisv1.Run, success *trellisv1.Outcome_Success) error {
	epochs := success.GetEpochs()
	switch {
	case epochs == 0:
		return fmt.Errorf("a run of no epochs: %w", ErrInvalid)
	case epochs > run.Epochs:
		return fmt.Errorf("%d epochs are recorded, %d were trained: %w", run.Epochs, epochs, ErrGap)
	case epochs < run.Epochs:
		return c.conflict(run, fmt.Errorf("recorded %d epochs, reported an end after %d", run.Epochs, epochs))
	}
	losses, err := c.lossesOf(run)
	if err != nil {
		return err
	}
	open, err := c.trialsAfter(run)
	if err != nil {
		return err
	}
	run = c.endAttempt(run, succeed)
	run.StopReason = success.GetStopReason()
	var testLoss *float64
	if loss, ok := losses.TestLoss[epochs]; ok {
		testLoss = &loss
	}
	for _, trial := range open {
		if err := c.answer(trial, run, testLoss); err != nil {
			return err
		}
	}
	return nil
}
