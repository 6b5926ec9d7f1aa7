package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// journaled is a state machine whose every step the journal compares with the other nodes'.
type journaled struct {
	replication.StateMachine
	journal *journal
	at      string
	store   *results.Store
}

func (m journaled) Apply(index uint64, command []byte) any {
	// What follows from a step is seen by nobody before the journal has it.
	m.journal.mu.Lock()
	defer m.journal.mu.Unlock()
	answer := m.StateMachine.Apply(index, command)
	m.journal.applied(m.at, index, command, answer, m.store)
	return answer
}

// journal has what the log has, as the first node to apply it saw it, and a simple model of who holds which run.
type journal struct {
	s *simulation

	mu      sync.Mutex
	entries map[uint64]journalEntry
	last    uint64
	// studies has all states that the studies have ever had, by name and by the index of the command that led there.
	studies map[string]map[uint64]*trellisv1.Study
	// holders has the open attempt at each run, by study and run.
	holders map[runName]holder
	// fresh has the studies that share nothing.
	fresh map[string]bool
	// newest is the last attempt that was granted.
	newest uint64
	// reported is the last epoch that was accepted of each attempt, ended the attempts that are over.
	reported map[uint64]uint32
	ended    map[uint64]bool

	grants, accepted, stale, gaps, lost int
}

type runName struct{ study, run string }

type holder struct {
	attempt uint64
	worker  string
}

type journalEntry struct {
	command []byte
	answer  string
}

func newJournal(s *simulation) *journal {
	return &journal{
		s: s, entries: map[uint64]journalEntry{}, studies: map[string]map[uint64]*trellisv1.Study{},
		holders: map[runName]holder{}, fresh: map[string]bool{}, reported: map[uint64]uint32{},
		ended: map[uint64]bool{},
	}
}

func (j *journal) summary() string {
	return fmt.Sprintf("%d commands, %d grants, %d entries accepted, %d refused as stale, %d for a gap, %d "+
		"workers lost",
		len(j.entries), j.grants, j.accepted, j.stale, j.gaps, j.lost)
}

// applied notes a step of a node.
func (j *journal) applied(at string, index uint64, data []byte, answer any, store *results.Store) {
	text := fmt.Sprint(answer)
	if before, known := j.entries[index]; known {
		if !bytes.Equal(before.command, data) || before.answer != text {
			j.s.wrong("%s applied another command at index %d than others, or answered %s and not %s", at, index, text,
				before.answer)
		}
		return
	}
	if index <= j.last {
		j.s.wrong("%s applied a command at index %d, where others had none", at, index)
	}
	j.entries[index], j.last = journalEntry{data, text}, index
	command := &trellisv1.Command{}
	if err := proto.Unmarshal(data, command); err != nil {
		j.s.wrong("decode the command at index %d: %v", index, err)
		return
	}
	j.judge(index, command, answer)
	studies, err := store.Snapshot().Studies(nil)
	if err != nil {
		j.s.wrong("read the studies at index %d: %v", index, err)
	}
	for _, study := range studies {
		if study.GetModifyIndex() != index {
			continue
		}
		if j.studies[study.GetName()] == nil {
			j.studies[study.GetName()] = map[uint64]*trellisv1.Study{}
		}
		j.studies[study.GetName()][index] = study
	}
}

// judge follows who holds which run, and says what should not have been accepted.
func (j *journal) judge(index uint64, command *trellisv1.Command, answer any) {
	refusals, _ := answer.([]error)
	refusal, _ := answer.(error)
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateStudy:
		if refusal == nil {
			j.fresh[change.CreateStudy.GetSpec().GetName()] = change.CreateStudy.GetFresh()
		}
	case *trellisv1.Command_SetStudyState:
		if refusal == nil && change.SetStudyState.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			j.release(func(name runName, _ holder) bool { return name.study == change.SetStudyState.GetStudy() })
		}
	case *trellisv1.Command_DeleteStudy:
		if refusal == nil {
			j.release(func(name runName, _ holder) bool { return name.study == change.DeleteStudy.GetStudy() })
		}
	case *trellisv1.Command_SetWorker:
		worker := change.SetWorker.GetWorker()
		gone := worker.GetState() == trellisv1.WorkerState_WORKER_STATE_GONE
		lost := worker.GetState() == trellisv1.WorkerState_WORKER_STATE_LOST
		if refusal == nil && (lost || gone) {
			j.release(func(_ runName, h holder) bool { return h.worker == worker.GetName() })
		}
		if refusal == nil && lost {
			j.lost++
		}
	case *trellisv1.Command_Grant:
		for i, grant := range change.Grant.GetGrants() {
			if refusals[i] == nil {
				j.grant(results.AttemptNumber(index, i), grant)
			}
		}
	case *trellisv1.Command_Record:
		for i, entry := range change.Record.GetEntries() {
			j.record(index, entry, refusals[i])
		}
	case *trellisv1.Command_RecordAndGrant:
		entries := change.RecordAndGrant.GetRecord().GetEntries()
		for i, entry := range entries {
			j.record(index, entry, refusals[i])
		}
		for i, grant := range change.RecordAndGrant.GetGrant().GetGrants() {
			if refusals[len(entries)+i] == nil {
				j.grant(results.AttemptNumber(index, i), grant)
			}
		}
	}
}

func (j *journal) grant(attempt uint64, grant *trellisv1.Grant) {
	name := runName{grant.GetStudy(), grant.GetRun()}
	if open, held := j.holders[name]; held {
		j.s.wrong("run %v was granted as attempt %d while attempt %d held it", name, attempt, open.attempt)
	}
	for other, open := range j.holders {
		if other.run == name.run && other.study != name.study && !j.fresh[other.study] && !j.fresh[name.study] {
			j.s.wrong("run %v was granted as attempt %d while attempt %d held its twin %v", name, attempt, open.attempt,
				other)
		}
	}
	if attempt <= j.newest {
		j.s.wrong("attempt %d was granted after attempt %d", attempt, j.newest)
	}
	j.holders[name], j.newest = holder{attempt, grant.GetWorker()}, attempt
	j.grants++
}

// record judges an entry that was accepted or refused.
func (j *journal) record(index uint64, entry *trellisv1.RecordCommand_Entry, refusal error) {
	var name runName
	var attempt uint64
	switch entry := entry.GetEntry().(type) {
	case *trellisv1.RecordCommand_Entry_Reports:
		name, attempt = runName{entry.Reports.GetStudy(), entry.Reports.GetRun()}, entry.Reports.GetAttempt()
	case *trellisv1.RecordCommand_Entry_Checkpoint:
		name, attempt = runName{entry.Checkpoint.GetStudy(), entry.Checkpoint.GetRun()}, entry.Checkpoint.GetAttempt()
	case *trellisv1.RecordCommand_Entry_Outcome:
		name, attempt = runName{entry.Outcome.GetStudy(), entry.Outcome.GetRun()}, entry.Outcome.GetAttempt()
	}
	open := j.holders[name].attempt
	switch {
	case errors.Is(refusal, results.ErrStale):
		j.stale++
		if open == attempt {
			j.s.wrong("at index %d an entry of attempt %d, which holds run %v, was refused: %v", index, attempt, name,
				refusal)
		}
		return
	case errors.Is(refusal, results.ErrGap):
		// The reports before were refused because this node did not lead for a moment. The session ends, and all come
		// again.
		j.gaps++
		return
	case refusal != nil:
		j.s.wrong("at index %d an entry of attempt %d at run %v was refused: %v", index, attempt, name, refusal)
		return
	case open != attempt:
		j.s.wrong("at index %d an entry of attempt %d at run %v was accepted, but attempt %d holds it", index, attempt,
			name, open)
	}
	j.accepted++
	if reports := entry.GetReports(); reports != nil {
		last := reports.GetFirstEpoch() + uint32(len(reports.GetTrainLoss())) - 1
		j.reported[attempt] = max(j.reported[attempt], last)
	}
	if entry.GetOutcome() != nil {
		delete(j.holders, name)
		j.ended[attempt] = true
	}
}

// release ends attempts.
func (j *journal) release(which func(runName, holder) bool) {
	for name, open := range j.holders {
		if which(name, open) {
			delete(j.holders, name)
			j.ended[open.attempt] = true
		}
	}
}

// acknowledged checks that what a worker was told is recorded.
func (j *journal) acknowledged(worker string, ack *trellisv1.Acknowledgement) {
	j.s.acknowledgements.Add(1)
	j.mu.Lock()
	defer j.mu.Unlock()
	attempt := ack.GetAttempt()
	if j.ended[attempt] {
		return
	}
	if ack.GetOutcome() || ack.GetEpoch() > j.reported[attempt] {
		j.s.wrong("worker %s was told %v, but the log has reports of that attempt up to epoch %d and no end of it",
			worker, ack,
			j.reported[attempt])
	}
}

// existed checks that a study that was read is a state in which the study was. Its forecast is none of it: that is made
// for each answer.
func (j *journal) existed(from string, study *trellisv1.Study) {
	study = proto.CloneOf(study)
	study.Forecast = nil
	j.mu.Lock()
	defer j.mu.Unlock()
	state := j.studies[study.GetName()][study.GetModifyIndex()]
	// A forecast is of the moment, and not stored.
	study = proto.CloneOf(study)
	study.Forecast = nil
	if !proto.Equal(state, study) {
		j.s.wrong("%s answered a state that study %s never had:\n%v\nat that index it was\n%v", from, study.GetName(),
			study, state)
	}
}
