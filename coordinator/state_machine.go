package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// errUnknownCommand means that the log has a command from a newer version of Trellis.
var errUnknownCommand = errors.New("this version of Trellis does not know the command")

// stateMachine applies the log's commands to the store: it decodes each and makes one call.
type stateMachine struct {
	store   *results.Store
	applied *appliedIndex
}

var (
	_ replication.StateMachine = stateMachine{}
	_ replication.Checker      = stateMachine{}
)

// Apply returns one error per entry for commands that record and grant, nil if the entry was accepted. For an extension or a
// retry it returns the number of changes, for a deletion of checkpoints where to go on, or an error. For every other
// command it returns an error or nil. For a command that it does not understand it returns replication.Fatal: a replica
// that skipped it would no longer have the same state as the others.
func (m stateMachine) Apply(index uint64, data []byte) any {
	answer := m.apply(index, data)
	m.applied.set(index)
	return answer
}

// Snapshot returns the state as of now, which can be written later.
func (m stateMachine) Snapshot() (replication.Snapshot, error) { return m.store.Snapshot(), nil }

// Restore replaces the state. The index of the last command in the store is known again after the next command.
func (m stateMachine) Restore(r io.Reader) error { return m.store.Restore(r) }

// Check returns the error that Restore would return, and changes nothing.
func (m stateMachine) Check(r io.Reader) error {
	store, err := results.New()
	if err != nil {
		return err
	}
	return store.Restore(r)
}

// CheckCommand returns an error if the command can't be decoded. One that a newer version has made can.
func (m stateMachine) CheckCommand(data []byte) error {
	return proto.Unmarshal(data, &trellisv1.Command{})
}

func (m stateMachine) apply(index uint64, data []byte) any {
	command := &trellisv1.Command{}
	if err := proto.Unmarshal(data, command); err != nil {
		return replication.Fatal{Err: fmt.Errorf("decode the command at index %d: %w", index, err)}
	}
	grid.Upgrade(command)
	now, rules := command.GetTime(), trajectory.Rules(command.GetRules())
	if rules > trajectory.LatestRules {
		return replication.Fatal{Err: fmt.Errorf("apply the command at index %d by rules %d: %w", index, rules,
			errUnknownCommand)}
	}
	if err := m.allow(command); err != nil {
		return err
	}
	renews := m.renews(command)
	answer := m.change(index, now, rules, command)
	// The parts of a deletion are one event.
	part := command.GetDeleteCheckpoints().GetNextSection() > 0
	if _, refused := answer.(error); refused || renews || part || command.GetMethod() == "" {
		return answer
	}
	if err := m.store.AddEvent(index, now, eventOf(command)); err != nil {
		return replication.Fatal{Err: fmt.Errorf("record the event of index %d: %w", index, err)}
	}
	return answer
}

func (m stateMachine) change(
	index uint64, now *timestamppb.Timestamp, rules trajectory.Rules, command *trellisv1.Command,
) any {
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateStudy:
		return m.createStudy(index, now, change.CreateStudy, command.GetPrincipal())
	case *trellisv1.Command_SetStudyState:
		return m.store.SetStudyState(index, now, change.SetStudyState.GetStudy(), change.SetStudyState.GetState())
	case *trellisv1.Command_DeleteStudy:
		deleted := change.DeleteStudy
		return m.store.DeleteStudy(index, deleted.GetStudy(), deleted.GetModifyIndex(), deleted.GetCreateIndex())
	case *trellisv1.Command_Grant:
		return m.store.Grant(index, now, change.Grant.GetGrants())
	case *trellisv1.Command_Record:
		return m.store.Record(index, now, rules, change.Record.GetEntries())
	case *trellisv1.Command_RecordAndGrant:
		both := change.RecordAndGrant
		return m.store.RecordAndGrant(index, now, rules, both.GetRecord().GetEntries(), both.GetGrant().GetGrants())
	case *trellisv1.Command_SetWorker:
		return m.store.SetWorker(index, now, rules, change.SetWorker.GetWorker())
	case *trellisv1.Command_ExtendStudy:
		return answered(m.extendStudy(index, now, change.ExtendStudy))
	case *trellisv1.Command_RetryStudy:
		return answered(m.store.RetryStudy(index, now, rules, change.RetryStudy.GetStudy(), change.RetryStudy.GetPruned()))
	case *trellisv1.Command_EndTimeBudget:
		return m.store.EndTimeBudget(index, now, change.EndTimeBudget.GetStudy(), change.EndTimeBudget.GetCreateIndex())
	case *trellisv1.Command_ShareRuns:
		its := change.ShareRuns
		return m.store.ShareRuns(index, now, its.GetStudy(), its.GetCreateIndex(), its.GetNextSection())
	case *trellisv1.Command_DeleteCheckpoints:
		return answered(m.store.DeleteCheckpoints(index, now, change.DeleteCheckpoints))
	case *trellisv1.Command_CreateToken:
		return m.store.CreateToken(index, now, change.CreateToken.GetToken())
	case *trellisv1.Command_RevokeToken:
		return m.store.RevokeToken(index, change.RevokeToken.GetId())
	case *trellisv1.Command_CreateHook:
		return m.store.CreateHook(index, now, change.CreateHook.GetHook())
	case *trellisv1.Command_DeleteHook:
		return m.store.DeleteHook(index, change.DeleteHook.GetName())
	case *trellisv1.Command_RecordDeliveries:
		return m.store.RecordDeliveries(index, now, change.RecordDeliveries.GetAttempts())
	case *trellisv1.Command_PutPaperReport:
		return m.putPaper(index, now, change.PutPaperReport.GetReport(), command.GetPrincipal())
	case *trellisv1.Command_DeletePaperReport:
		return m.store.DeletePaper(index, change.DeletePaperReport.GetName())
	case *trellisv1.Command_Note:
		return nil
	}
	return replication.Fatal{Err: fmt.Errorf("apply the command at index %d: %w", index, errUnknownCommand)}
}

// allow refuses a submitter's change of anything but a study or a report of their own. See also checkOwner: the study may have been
// replaced by another of its name since.
func (m stateMachine) allow(command *trellisv1.Command) error {
	if command.GetPrincipal().GetRole() != trellisv1.Role_ROLE_SUBMITTER || command.GetCreateStudy() != nil {
		return nil
	}
	if name := paperOf(command); name != "" {
		return m.allowPaper(name, command.GetPrincipal())
	}
	name := studyOf(command)
	if name == "" {
		return fmt.Errorf("change what is no study: %w", results.ErrNotOwner)
	}
	study, err := m.store.Snapshot().Study(nil, name)
	if errors.Is(err, results.ErrNotFound) {
		return nil // The change itself says so.
	}
	if err != nil {
		return err
	}
	if !proto.Equal(study.GetCreator(), command.GetPrincipal()) {
		return fmt.Errorf("change study %q: %w", study.GetName(), results.ErrNotOwner)
	}
	return nil
}

// allowPaper refuses a submitter's change of a report that another has written.
func (m stateMachine) allowPaper(name string, who *trellisv1.Principal) error {
	report, err := m.store.Snapshot().Paper(name)
	if errors.Is(err, results.ErrNotFound) {
		return nil // It is theirs, or the change itself says that there is none.
	}
	if err == nil && !proto.Equal(report.GetCreator(), who) {
		err = fmt.Errorf("change report %q: %w", name, results.ErrNotOwner)
	}
	return err
}

// paperOf returns the report on a paper that a command changes, "" if it is about something else.
func paperOf(command *trellisv1.Command) string {
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_PutPaperReport:
		return change.PutPaperReport.GetReport().GetName()
	case *trellisv1.Command_DeletePaperReport:
		return change.DeletePaperReport.GetName()
	}
	return ""
}

// studyOf returns the study that a command changes, "" if it is about something else.
func studyOf(command *trellisv1.Command) string {
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateStudy:
		return change.CreateStudy.GetSpec().GetName()
	case *trellisv1.Command_SetStudyState:
		return change.SetStudyState.GetStudy()
	case *trellisv1.Command_DeleteStudy:
		return change.DeleteStudy.GetStudy()
	case *trellisv1.Command_ExtendStudy:
		return change.ExtendStudy.GetStudy()
	case *trellisv1.Command_RetryStudy:
		return change.RetryStudy.GetStudy()
	case *trellisv1.Command_EndTimeBudget:
		return change.EndTimeBudget.GetStudy()
	case *trellisv1.Command_ShareRuns:
		return change.ShareRuns.GetStudy()
	case *trellisv1.Command_DeleteCheckpoints:
		return change.DeleteCheckpoints.GetStudy()
	}
	return ""
}

// eventOf returns the event that a command leaves.
func eventOf(command *trellisv1.Command) *trellisv1.Event {
	subject := cmp.Or(studyOf(command), paperOf(command))
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateToken:
		subject = change.CreateToken.GetToken().GetId()
	case *trellisv1.Command_RevokeToken:
		subject = change.RevokeToken.GetId()
	case *trellisv1.Command_CreateHook:
		subject = change.CreateHook.GetHook().GetName()
	case *trellisv1.Command_DeleteHook:
		subject = change.DeleteHook.GetName()
	case *trellisv1.Command_Note:
		subject = change.Note.GetSubject()
	}
	return &trellisv1.Event{
		Principal: command.GetPrincipal(), Address: command.GetAddress(), Method: command.GetMethod(), Subject: subject,
	}
}

// renews says that a command writes a report as it is already: whoever writes it is still there. Nobody wants an event
// each time. Versions that had an event of each did not promise to write again, and what they logged still has them.
func (m stateMachine) renews(command *trellisv1.Command) bool {
	given := command.GetPutPaperReport().GetReport()
	if given.GetRenewal() == nil {
		return false
	}
	before, err := m.store.Snapshot().Paper(given.GetName())
	if err != nil {
		return false
	}
	given = proto.CloneOf(given)
	given.Creator, given.CreateTime, given.UpdateTime = before.GetCreator(), before.GetCreateTime(), before.GetUpdateTime()
	return proto.Equal(before, given)
}

// putPaper stores a report on a paper. Who writes it first is its creator.
func (m stateMachine) putPaper(
	index uint64, now *timestamppb.Timestamp, given *trellisv1.PaperReport, writer *trellisv1.Principal,
) error {
	report := proto.CloneOf(given)
	report.Creator = writer
	return m.store.PutPaper(index, now, report)
}

// createStudy stores a study.
func (m stateMachine) createStudy(
	index uint64, now *timestamppb.Timestamp, command *trellisv1.CreateStudyCommand, creator *trellisv1.Principal,
) error {
	spec := command.GetSpec()
	study := &trellisv1.Study{
		Name: spec.GetName(), Spec: spec, DataSet: command.GetDataSet(), Numerics: command.GetNumerics(),
		Fresh: command.GetFresh(), Pretrained: command.GetPretrained(), Creator: creator,
		Network: command.GetNetwork(),
	}
	if command.GetSharesInParts() {
		study.Sharing = &trellisv1.Sharing{}
	}
	if command.GetIndexed() {
		return m.store.CreateStudy(index, now, study)
	}
	trials, runs, err := grid.Expand(spec, command.GetDataSet(), command.GetNumerics(), command.GetPretrained())
	if err != nil {
		return fmt.Errorf("expand study %s: %w", spec.GetName(), err)
	}
	return m.store.CreateListed(index, now, study, runs, trials)
}

// extendStudy expands what is added to the study and stores it.
func (m stateMachine) extendStudy(
	index uint64, now *timestamppb.Timestamp, command *trellisv1.ExtendStudyCommand,
) (trials uint64, err error) {
	study, err := m.store.Snapshot().Study(nil, command.GetStudy())
	if err != nil {
		return 0, fmt.Errorf("extend it: %w", err)
	}
	extension := results.Extension{
		Indices: command.GetIndices(), NextIndices: command.GetIndices(),
		Spec: command.GetSpec(), KeepDifference: command.GetKeepDifference(), Settled: command.GetSettled(),
		MaxTrials: grid.MaxTrials, SharesInParts: command.GetSharesInParts(),
		Network: command.GetNetwork(),
	}
	// Expanding takes a while, and is useless if the store will refuse the extension.
	if study.GetIndices() == command.GetIndices() && study.GetState() != trellisv1.StudyState_STUDY_STATE_CANCELED {
		if command.GetSpec() != nil && !grid.Extends(command.GetSpec(), study.GetSpec()) {
			return 0, fmt.Errorf("extend study %s, which replaced an earlier study of that name: %w",
				study.GetName(), results.ErrStudyChanged)
		}
		if command.GetIndexed() && command.GetSpec() != nil {
			extension.Indexed = true
			if trials, err = m.store.ExtendStudy(index, now, command.GetStudy(), extension); !errors.Is(err, results.ErrNotIndexed) {
				return trials, err
			}
			extension.Indexed = false
		}
		if command.GetSpec() == nil || proto.Equal(command.GetSpec().GetBudget(), study.GetSpec().GetBudget()) ||
			!grid.OnlyRaises(command.GetSpec(), study.GetSpec()) {
			// What a larger budget alone allows follows from the spec.
			extension.Trials, extension.Runs, extension.NextIndices, err = grid.ExpandExtension(study, command)
		}
		if err != nil {
			return 0, fmt.Errorf("expand the extension of study %s: %w", study.GetName(), err)
		}
	}
	return m.store.ExtendStudy(index, now, command.GetStudy(), extension)
}

// answered is the answer to a command that says what it has changed, or its error.
func answered[Answer any](answer Answer, err error) any {
	if err != nil {
		return err
	}
	return answer
}

// appliedIndex is the log index of the last command that the store includes.
type appliedIndex struct {
	index   atomic.Uint64
	waiting atomic.Int32
	changed *broadcast
}

func newAppliedIndex() *appliedIndex { return &appliedIndex{changed: newBroadcast()} }

func (a *appliedIndex) get() uint64 { return a.index.Load() }

// set is called for every command. It costs almost nothing while nobody waits.
func (a *appliedIndex) set(index uint64) {
	a.index.Store(index)
	if a.waiting.Load() > 0 {
		a.changed.send()
	}
}

// await returns once the store includes the command at index, or fails when ctx is done.
func (a *appliedIndex) await(ctx context.Context, index uint64) error {
	a.waiting.Add(1)
	defer a.waiting.Add(-1)
	for {
		changed := a.changed.next()
		if a.get() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
