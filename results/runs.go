package results

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

func runsSchema() *memdb.TableSchema {
	return tableSchema(tableRuns,
		index(indexID, runKey),
		index(indexPending, func(r *trellisv1.Run) key {
			if r.State != runPending {
				return nil
			}
			// The longest first: what starts last must not keep one worker busy while the others have nothing to do.
			return newKey(len(r.Study) + len(r.Id) + 14).
				text(r.Study).number32(^r.Parameters.GetMaxEpochs()).number(r.FirstTrial).text(r.Id)
		}),
		index(indexChanged, func(r *trellisv1.Run) key {
			return newKey(len(r.Study) + len(r.Id) + 10).text(r.Study).number(r.ModifyIndex).text(r.Id)
		}),
		index(indexHolder, func(r *trellisv1.Run) key {
			if r.State != runLeased {
				return nil
			}
			return newKey(len(r.Worker) + len(r.Study) + len(r.Id) + 3).text(r.Worker).text(r.Study).text(r.Id)
		}),
	)
}

func runKey(r *trellisv1.Run) key { return textsKey(r.Study, r.Id) }

func (c *change) createRun(study *trellisv1.Study, run *trellisv1.Run) error {
	if err := validName(run.GetId()); err != nil {
		return err
	}
	milestones := run.GetMilestones()
	for i, milestone := range milestones {
		if milestone == 0 || i > 0 && milestone <= milestones[i-1] {
			return fmt.Errorf("milestones %v do not ascend from 1: %w", milestones, ErrInvalid)
		}
	}
	if len(milestones) == 0 || milestones[len(milestones)-1] != run.GetParameters().GetMaxEpochs() {
		return fmt.Errorf("milestones %v do not end at the run's %d epochs: %w",
			milestones, run.GetParameters().GetMaxEpochs(), ErrInvalid)
	}
	existing, err := first[*trellisv1.Run](c.txn, nil, tableRuns, indexID, textsKey(study.Name, run.GetId()))
	if err != nil {
		return err
	}
	if existing != nil {
		return fmt.Errorf("it occurs twice: %w", ErrInvalid)
	}
	created := &trellisv1.Run{
		Study:       study.Name,
		Id:          strings.Clone(run.GetId()),
		Parameters:  proto.CloneOf(run.GetParameters()),
		Milestones:  slices.Clone(milestones),
		State:       runPending,
		ModifyIndex: c.index,
		FirstTrial:  run.GetFirstTrial(),
	}
	addProgress(study.Progress, nil, created)
	if err := c.txn.Insert(tableRuns, created); err != nil {
		return fmt.Errorf("insert into %s: %w", tableRuns, err)
	}
	return nil
}

// Grant leases a PENDING run of a RUNNING study to a READY worker that has a slot free, and fails with ErrIllegalMove if
// they are not so. The attempt's number is the log index.
func (s *Store) Grant(index uint64, now *timestamppb.Timestamp, study, run, worker string) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.grant(study, run, worker); err != nil {
		return fmt.Errorf("grant run %s of study %s to worker %s: %w", run, study, worker, err)
	}
	return c.commit()
}

func (c *change) grant(studyName, runID, workerName string) error {
	study, err := c.studies.get(textKey(studyName))
	if err != nil {
		return err
	}
	run, err := c.runs.get(textsKey(studyName, runID))
	if err != nil {
		return err
	}
	worker, err := c.workers.get(textKey(workerName))
	if err != nil {
		return err
	}
	if study.State != studyRunning {
		return fmt.Errorf("the study is %s: %w", stateName(study.State), ErrIllegalMove)
	}
	if worker.State != workerReady {
		return fmt.Errorf("the worker is %s: %w", stateName(worker.State), ErrIllegalMove)
	}
	if worker.Runs >= worker.Slots {
		return fmt.Errorf("the worker's %d slots are taken: %w", worker.Slots, ErrIllegalMove)
	}
	state, err := runMachine.next(run.State, grant)
	if err != nil {
		return err
	}
	run = c.runs.edit(run)
	run.State, run.Attempt, run.Worker = state, c.index, worker.Name
	return nil
}

// endAttempt moves a run on and takes it from the worker that holds it, if any.
func (c *change) endAttempt(run *trellisv1.Run, event string) *trellisv1.Run {
	run = c.runs.edit(run)
	run.State = runMachine.must(run.State, event)
	run.Attempt, run.Worker, run.AttemptEpochs = 0, "", 0
	return run
}

// Run returns a run, or ErrNotFound.
func (s *Snapshot) Run(ws memdb.WatchSet, study, id string) (*trellisv1.Run, error) {
	run, err := first[*trellisv1.Run](s.txn, ws, tableRuns, indexID, textsKey(study, id))
	if err == nil && run == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("run %s of study %s: %w", id, study, err)
	}
	return run, nil
}

// RunsHeldBy returns the runs that are leased to a worker.
func (s *Snapshot) RunsHeldBy(ws memdb.WatchSet, worker string) ([]*trellisv1.Run, error) {
	return all[*trellisv1.Run](s.txn, ws, tableRuns, indexHolder, textKey(worker))
}

// RunsChangedSince returns the study's runs whose modify_index is above index, in its order.
func (s *Snapshot) RunsChangedSince(study string, index uint64) ([]*trellisv1.Run, error) {
	if index == ^uint64(0) {
		return nil, nil
	}
	runs, err := scanFrom[*trellisv1.Run](s.txn, tableRuns, indexChanged, newKey(len(study)+9).text(study).number(index+1))
	if err != nil {
		return nil, err
	}
	var changed []*trellisv1.Run
	for run := range runs {
		if run.Study != study {
			break
		}
		changed = append(changed, run)
	}
	return changed, nil
}

// NextRun returns the run to be leased next, or nil if there is none: a PENDING run of the oldest RUNNING study that has
// one, there one with the most epochs, and among these the one that stands first in the grid. The watch set fires when
// that may have changed.
func (s *Snapshot) NextRun(ws memdb.WatchSet) (*trellisv1.Run, error) {
	studies, err := scan[*trellisv1.Study](s.txn, ws, tableStudies, indexRunning, nil)
	if err != nil {
		return nil, err
	}
	for study := range studies {
		run, err := first[*trellisv1.Run](s.txn, ws, tableRuns, indexPending+"_prefix", textKey(study.Name))
		if err != nil || run != nil {
			return run, err
		}
	}
	return nil, nil
}

// isNotFound is errors.Is for the error that queries by key fail with.
func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
