package results

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Record records what workers have reported, in the given order and in one transaction. It returns one error per entry,
// which is nil if the entry was accepted.
//
// An entry whose attempt does not hold its run is refused with ErrStale. So the first outcome of an attempt wins, and
// an attempt ends when its study is paused, canceled or deleted.
//
// Reports are columns of consecutive epochs, accepted or refused as a whole. New epochs are appended, and trials whose
// max_epochs they reach get their results. Epochs that are already recorded must be equal bit for bit, and change
// nothing: a new attempt may start from an earlier epoch. If one differs, the error is ErrConflict, which ends the
// attempt, unless others have claimed the same: then the attempt goes on, and what is recorded is replaced. See the
// package documentation. An attempt that is to be compared must report all epochs from the first on. Reports that begin after the next epoch fail with ErrGap. These fail with ErrInvalid: columns that are empty
// or of different lengths, epochs outside the run, test losses of epochs outside the columns, and metrics without
// exactly one value per epoch, with invalid names, or too many of them: see checkMetrics. A run has the same metrics in
// all epochs: others fail with ErrConflict. Seconds that are not positive numbers count as unknown.
//
// A checkpoint replaces an earlier one of the same epoch. Checkpoints at milestones and the one of the latest epoch are
// kept. A checkpoint of an epoch that is not recorded yet fails with ErrGap. A checkpoint of an epoch outside the run,
// with best weights of a later epoch, or without a digest fails with ErrInvalid.
//
// A success gives all remaining trials their results, unless the attempt was only to train a stage: see Stage. Its
// number of epochs must be the number recorded: if it is larger, the error is ErrGap, if it is smaller, ErrConflict. A
// failure is charged to the budget of its class. An unknown class fails with ErrInvalid. A return is not charged.
// Failures are judged by the given rules.
//
// In a study that prunes, recorded entries may cause runs to be held, and others to continue: see the package
// documentation.
func (s *Store) Record(
	index uint64, now *timestamppb.Timestamp, rules trajectory.Rules, entries []*trellisv1.RecordCommand_Entry,
) []error {
	c := s.begin(index, now)
	defer c.abort()
	c.rules = rules
	refused := c.recordAll(entries)
	if err := c.commit(); err != nil {
		for i := range refused {
			refused[i] = errors.Join(refused[i], err)
		}
	}
	return refused
}

func (c *change) recordAll(entries []*trellisv1.RecordCommand_Entry) []error {
	refused := make([]error, len(entries))
	for i, entry := range entries {
		refused[i] = c.record(entry)
	}
	return refused
}

func (c *change) record(entry *trellisv1.RecordCommand_Entry) error {
	switch entry := entry.GetEntry().(type) {
	case *trellisv1.RecordCommand_Entry_Reports:
		if err := c.report(entry.Reports); err != nil {
			return fmt.Errorf("report %s of run %s of study %q: %w",
				epochsOf(entry.Reports), entry.Reports.GetRun(), entry.Reports.GetStudy(), err)
		}
		return nil
	case *trellisv1.RecordCommand_Entry_Outcome:
		if err := c.outcome(entry.Outcome); err != nil {
			return fmt.Errorf("end attempt %d at run %s of study %q: %w",
				entry.Outcome.GetAttempt(), entry.Outcome.GetRun(), entry.Outcome.GetStudy(), err)
		}
		return nil
	case *trellisv1.RecordCommand_Entry_Checkpoint:
		if err := c.checkpoint(entry.Checkpoint); err != nil {
			return fmt.Errorf("record the checkpoint of epoch %d of run %s of study %q: %w",
				entry.Checkpoint.GetCheckpoint().GetEpoch(), entry.Checkpoint.GetRun(), entry.Checkpoint.GetStudy(), err)
		}
		return nil
	default:
		return fmt.Errorf("invalid entry: must be reports, an outcome or a checkpoint: %w", ErrInvalid)
	}
}

// epochsOf names the epochs of reports, for errors.
func epochsOf(reports *trellisv1.Reports) string {
	count := trajectory.EpochsIn(reports)
	if count == 1 {
		return fmt.Sprintf("epoch %d", reports.GetFirstEpoch())
	}
	return fmt.Sprintf("%d epochs from %d", count, reports.GetFirstEpoch())
}

// leased returns the run with the id that the attempt may hold, or ErrNotFound. A run that follows from the spec is looked
// for by the attempt: by its id would take long.
func (c *change) leased(study, id string, attempt uint64) (handle, error) {
	its, err := c.lease(attempt)
	if err != nil {
		return handle{}, err
	}
	catalog, err := c.sections.catalog(study)
	if err != nil {
		return handle{}, err
	}
	switch {
	case its != nil && its.study == study && its.run == id && catalog != nil:
		return c.sections.at(catalog, its.place)
	case catalog != nil && catalog.Lists(id):
		return c.sections.find(study, id)
	}
	return handle{}, fmt.Errorf("attempt %d holds no run %s: %w", attempt, id, ErrNotFound)
}

// heldRun returns the run if the attempt holds it.
func (c *change) heldRun(study, id string, attempt uint64) (handle, error) {
	held, err := c.leased(study, id, attempt)
	if isNotFound(err) {
		return held, fmt.Errorf("run not found: %w", ErrStale)
	}
	if err != nil {
		return held, err
	}
	run := held.run()
	if !auditing.Held(run) {
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
	if err := its.CheckReports(reports); err != nil {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	firstEpoch, count := reports.GetFirstEpoch(), trajectory.EpochsIn(reports)
	if firstEpoch > run.Epochs+1 {
		return fmt.Errorf("only %d epochs are recorded: %w", run.Epochs, ErrGap)
	}
	repeated := min(count, int(run.Epochs+1-firstEpoch))
	repeats, err := c.repeats(its)
	if err != nil {
		return err
	}
	again := c.trainsAgain(run)
	if repeats && again {
		if err := c.compare(held, reports, repeated); err != nil {
			return err
		}
		// What is recorded may have been corrected, or the program's declaration refuted.
		repeated = min(count, int(held.run().Epochs+1-firstEpoch))
		if repeats, err = c.repeats(held.member()); err != nil {
			return err
		}
	} else if _, err := its.Contradiction(reports, repeated); repeats && err != nil {
		return c.conflict(held, err)
	}
	if !repeats {
		repeated = c.replace(held, reports, repeated)
	}
	if again || !repeats {
		if err := c.note(held, firstEpoch, firstEpoch+uint32(count)-1); err != nil {
			return err
		}
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
	err = c.result(held, outcome)
	if output := outcome.GetOutput(); output != nil && (err == nil || errors.Is(err, ErrConflict)) {
		run := held.edit().Run
		run.Outputs = trajectory.WithOutput(run, output)
	}
	return err
}

// result ends an attempt as its outcome says.
func (c *change) result(held handle, outcome *trellisv1.Outcome) error {
	switch result := outcome.GetResult().(type) {
	case *trellisv1.Outcome_Success_:
		return c.success(held, result.Success)
	case *trellisv1.Outcome_Failure:
		if held.member().Terms.OfProgram() {
			return c.failProgram(held, result.Failure)
		}
		return c.failAttempt(held, result.Failure.GetClass(), result.Failure.GetMessage())
	case *trellisv1.Outcome_Return_:
		held.endAttempt(lifecycle.Release)
		return nil
	default:
		return fmt.Errorf("invalid outcome: missing result: %w", ErrInvalid)
	}
}

func (c *change) success(held handle, success *trellisv1.Outcome_Success) error {
	run, epochs := held.run(), success.GetEpochs()
	contradiction := fmt.Errorf("recorded %d epochs, reported an end after %d", run.Epochs, epochs)
	repeats, err := c.repeats(held.member())
	if err != nil {
		return err
	}
	switch {
	case !repeats && epochs > 0 && epochs <= run.Epochs:
		c.shorten(held, epochs)
	case epochs == 0:
		return fmt.Errorf("invalid outcome: no epochs: %w", ErrInvalid)
	case epochs > run.Epochs:
		return fmt.Errorf("%d epochs were trained, but only %d are recorded: %w", epochs, run.Epochs, ErrGap)
	case c.trainsAgain(run):
		if err := c.compareEnd(held, success, contradiction); err != nil {
			return err
		}
		if run = held.run(); run.State == lifecycle.RunSucceeded {
			return c.compared(held)
		}
		if repeats, err = c.repeats(held.member()); err != nil {
			return err
		}
		if !repeats {
			c.shorten(held, epochs)
		}
	case epochs < run.Epochs:
		return c.conflict(held, contradiction)
	}
	if its := held.member(); its.Terms != nil && its.LacksObjective() {
		return c.failWithoutObjective(held)
	}
	if epochs < run.Parameters.GetMaxEpochs() && success.GetStopReason() == trellisv1.StopReason_STOP_REASON_MAX_EPOCHS {
		held.endAttempt(lifecycle.Release)
		return nil
	}
	edited := held.endAttempt(lifecycle.Succeed)
	edited.Run.StopReason = success.GetStopReason()
	return c.answerRest(edited)
}

// answerRest gives the remaining trials of a run that has ended their results.
func (c *change) answerRest(edited *trajectory.Trajectory) error {
	indexes, err := c.indexesOf(edited.Run)
	if err != nil {
		return err
	}
	edited.AnswerRest(indexes)
	return nil
}

// indexesOf returns the indexes of a run's trials, by milestone.
func (c *change) indexesOf(run *trellisv1.Run) ([]uint64, error) {
	catalog, err := c.sections.catalog(run.Study)
	if err != nil {
		return nil, err
	}
	return catalog.IndexesAt(catalog.PlaceOf(run)), nil
}

// checkpoint records an attempt's checkpoint, or that it is missing: see Store.Record.
func (c *change) checkpoint(report *trellisv1.CheckpointReport) error {
	held, err := c.heldRun(report.GetStudy(), report.GetRun(), report.GetAttempt())
	if err != nil {
		return err
	}
	run, checkpoint := held.run(), report.GetCheckpoint()
	epoch, best := checkpoint.GetEpoch(), checkpoint.GetBestEpoch()
	switch {
	case epoch == 0 || epoch > run.Parameters.GetMaxEpochs():
		return fmt.Errorf("the epoch must be between 1 and %d: %w", run.Parameters.GetMaxEpochs(), ErrInvalid)
	case best > epoch:
		return fmt.Errorf("its best weights are of a later epoch, %d: %w", best, ErrInvalid)
	case report.GetMissing() == "" && !trajectory.ValidDigest(checkpoint.GetSha256()):
		return fmt.Errorf("invalid digest %q: must be a SHA-256 in lower-case hexadecimal: %w", checkpoint.GetSha256(),
			ErrInvalid)
	case epoch > run.Epochs:
		return fmt.Errorf("only %d epochs are recorded: %w", run.Epochs, ErrGap)
	case auditing.FromStart(run) && epoch > run.AttemptEpochs:
		return fmt.Errorf("only %d epochs have been compared: %w", run.AttemptEpochs, ErrGap)
	}
	if auditing.ShorterMaxEpochs(run) > 0 {
		return nil // Of another training.
	}
	place, again := trajectory.CheckpointAt(run.Checkpoints, epoch)
	if auditing.BeingAudited(run) && run.Dispute == nil {
		// It has what it needs, unless that was dropped.
		_, milestone := slices.BinarySearch(run.Milestones, epoch)
		if again || report.GetMissing() != "" || !milestone && epoch != run.Epochs {
			return nil
		}
	}
	if again && (report.GetMissing() != "" || proto.Equal(run.Checkpoints[place], checkpoint)) {
		return nil
	}
	if reason := report.GetMissing(); reason != "" {
		run = held.edit().Run
		run.MissingWeights = trajectory.WithMissing(run, &trellisv1.MissingWeights{
			Epoch: epoch, Reason: strings.Clone(reason),
		})
		return nil
	}
	run = held.edit().Run
	run.AttemptEpochs = max(run.AttemptEpochs, epoch)
	run.Checkpoints = trajectory.WithCheckpoint(run, &trellisv1.Checkpoint{
		Epoch: epoch, Sha256: strings.Clone(checkpoint.GetSha256()), Size: checkpoint.GetSize(), BestEpoch: best,
		Program: checkpoint.GetProgram(),
	})
	run.MissingWeights = trajectory.WithoutSaved(run)
	return nil
}

// deletedAtOnce is how many runs lose their checkpoints in one command, about. That takes some tens of milliseconds.
var deletedAtOnce = 1024 // Tests set it to less.

// DeletedCheckpoints says how far a deletion of checkpoints has come.
type DeletedCheckpoints struct {
	// There is More to delete, and it goes on with NextSection.
	More        bool
	NextSection uint32
	// ModifyIndex is the study's since.
	ModifyIndex uint64
}

// DeleteCheckpoints takes the checkpoints from the next runs of a study that has ended, but for those that are to keep
// theirs. Other studies keep what they have of the same runs. Which weights could not be saved stays known. The runs
// keep their indices: when they ended is known by these. It fails with ErrNotFound, with
// ErrStudyChanged if the study is another one or has changed, and with ErrIllegalMove if it has not ended.
func (s *Store) DeleteCheckpoints(
	index uint64, now *timestamppb.Timestamp, command *trellisv1.DeleteCheckpointsCommand,
) (done DeletedCheckpoints, err error) {
	c := s.begin(index, now)
	defer c.abort()
	if done, err = c.deleteCheckpoints(command); err != nil {
		return done, refusal("delete the checkpoints of", command.GetStudy(), err)
	}
	return done, c.commit()
}

func (c *change) deleteCheckpoints(command *trellisv1.DeleteCheckpointsCommand) (done DeletedCheckpoints, err error) {
	study, err := c.studies.get(textKey(command.GetStudy()))
	if err != nil {
		return done, err
	}
	switch {
	case study.CreateIndex != command.GetCreateIndex(),
		command.EndTime == nil && study.ModifyIndex != command.GetModifyIndex(),
		command.EndTime != nil && !proto.Equal(study.EndTime, command.EndTime) && lifecycle.StudyEnded(study.State):
		return done, ErrStudyChanged
	case !lifecycle.StudyEnded(study.State):
		return done, fmt.Errorf("its runs go on from them, as it is %s: %w", lifecycle.Name(study.State), ErrIllegalMove)
	}
	its, err := c.sections.catalog(study.Name)
	if err != nil {
		return done, err
	}
	sections, err := c.sectionsOf(study.Name)
	if err != nil {
		return done, err
	}
	var places []uint32
	for section := range sections {
		if section.number < command.GetNextSection() {
			continue
		}
		if len(places) >= deletedAtOnce {
			done.More, done.NextSection = true, section.number
			break
		}
		for slot, member := range section.withOwn(its) {
			if member != nil && trajectory.MayDropCheckpoints(member.Run) && !slices.Contains(command.GetKeepRuns(), member.Run.Id) {
				places = append(places, section.number*sectionSize+uint32(slot))
			}
		}
	}
	done.ModifyIndex = study.ModifyIndex
	if len(places) == 0 {
		return done, nil
	}
	c.dropsWeights = true
	for _, place := range places {
		run, err := c.sections.at(its, place)
		if err != nil {
			return done, err
		}
		run.edit().Run.Checkpoints = nil
	}
	c.studies.edit(study).CheckpointsDeleteTime, done.ModifyIndex = c.now, c.index
	return done, nil
}
