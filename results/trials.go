package results

import (
	"fmt"
	"math"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// A trial's row is written twice: when it is created and when it is answered. In between, and if it is never answered,
// the trial is what its run says: see Snapshot.present. So a report writes no trial but the one that it answers, however
// many the run serves.

func trialsSchema() *memdb.TableSchema {
	return tableSchema(tableTrials,
		index(indexID, func(t *trellisv1.Trial) key { return trialKey(t.Study, t.Index) }),
		index(indexRun, func(t *trellisv1.Trial) key { return milestoneKey(t.Study, t.Run, t.Parameters.GetMaxEpochs()) }),
		index(indexRank, func(t *trellisv1.Trial) key {
			if t.State != trialSucceeded {
				return nil
			}
			rank := rankKey(t)
			return append(newKey(len(t.Study)+1+len(rank)).text(t.Study), rank[:]...)
		}),
	)
}

func trialKey(study string, index uint64) key {
	return newKey(len(study) + 9).text(study).number(index)
}

func milestoneKey(study, run string, epochs uint32) key {
	return newKey(len(study) + len(run) + 6).text(study).text(run).number32(epochs)
}

func (c *change) createTrial(study *trellisv1.Study, trial *trellisv1.Trial) error {
	run, err := c.runs.get(textsKey(study.Name, trial.GetRun()))
	if isNotFound(err) {
		return fmt.Errorf("there is no run %s: %w", trial.GetRun(), ErrInvalid)
	}
	if err != nil {
		return err
	}
	epochs := trial.GetParameters().GetMaxEpochs()
	if _, ok := slices.BinarySearch(run.Milestones, epochs); !ok {
		return fmt.Errorf("%d epochs are no milestone of run %s: %w", epochs, run.Id, ErrInvalid)
	}
	if trial.GetIndex() < run.FirstTrial {
		return fmt.Errorf("it is before the first trial, %d, of run %s: %w", run.FirstTrial, run.Id, ErrInvalid)
	}
	sameIndex, err := first[*trellisv1.Trial](c.txn, nil, tableTrials, indexID, trialKey(study.Name, trial.GetIndex()))
	if err != nil {
		return err
	}
	sameMilestone, err := c.trialAt(run, epochs)
	if err != nil {
		return err
	}
	if sameIndex != nil || sameMilestone != nil {
		return fmt.Errorf("it occurs twice: %w", ErrInvalid)
	}
	created := &trellisv1.Trial{
		Study:      study.Name,
		Index:      trial.GetIndex(),
		Parameters: run.Parameters,
		Run:        run.Id,
		State:      trialPending,
	}
	if !proto.Equal(trial.GetParameters(), run.Parameters) {
		created.Parameters = proto.CloneOf(trial.GetParameters())
	}
	return c.insertTrial(created)
}

func (c *change) insertTrial(trial *trellisv1.Trial) error {
	if err := c.txn.Insert(tableTrials, trial); err != nil {
		return fmt.Errorf("insert into %s: %w", tableTrials, err)
	}
	return nil
}

// trialAt returns the trial that the run answers after an epoch, nil if there is none.
func (c *change) trialAt(run *trellisv1.Run, epoch uint32) (*trellisv1.Trial, error) {
	return first[*trellisv1.Trial](c.txn, nil, tableTrials, indexRun, milestoneKey(run.Study, run.Id, epoch))
}

// trialsAfter returns the run's trials that its epochs have not answered.
func (c *change) trialsAfter(run *trellisv1.Run) ([]*trellisv1.Trial, error) {
	var open []*trellisv1.Trial
	for _, milestone := range run.Milestones[answeredTrials(run):] {
		trial, err := c.trialAt(run, milestone)
		if err != nil {
			return nil, err
		}
		open = append(open, trial)
	}
	return open, nil
}

// answer gives a trial its result: what its run says now.
func (c *change) answer(trial *trellisv1.Trial, run *trellisv1.Run, testLoss *float64) error {
	answered := copyTrial(trial)
	answered.State = trialSucceeded
	takeLosses(answered, run)
	if testLoss != nil {
		answered.TestLoss = proto.Float64(*testLoss)
	}
	return c.insertTrial(answered)
}

// takeLosses sets what a trial has of its run so far.
func takeLosses(trial *trellisv1.Trial, run *trellisv1.Run) {
	trial.Epochs, trial.BestEpoch, trial.Objective = run.Epochs, run.BestEpoch, run.BestValidationLoss
	if run.Epochs > 0 && run.BestValidationLoss == nil {
		trial.Objective = proto.Float64(math.NaN())
	}
}

// openStates says how a trial that has not been answered stands, by the state of its run.
var openStates = map[trellisv1.RunState]trellisv1.TrialState{
	runPending:  trialPending,
	runLeased:   trialRunning,
	runFailed:   trialFailed,
	runCanceled: trialCanceled,
}

// present returns the trial as it stands: its row if it has been answered, else a copy that says what its run says.
func (s *Snapshot) present(trial *trellisv1.Trial) (*trellisv1.Trial, error) {
	if trial.State == trialSucceeded {
		return trial, nil
	}
	run, err := s.Run(nil, trial.Study, trial.Run)
	if err != nil {
		return nil, fmt.Errorf("trial %d: %w", trial.Index, err)
	}
	trial = copyTrial(trial)
	trial.State, trial.Error = openStates[run.State], run.Error
	takeLosses(trial, run)
	return trial, nil
}

// withLosses returns a copy of the trial that has its losses by epoch.
func (s *Snapshot) withLosses(trial *trellisv1.Trial) (*trellisv1.Trial, error) {
	losses, err := s.Losses(nil, trial.Study, trial.Run)
	if isNotFound(err) {
		return trial, nil
	}
	if err != nil {
		return nil, err
	}
	epochs := trial.Epochs
	trial = copyTrial(trial)
	trial.TrainLoss = losses.TrainLoss[:epochs:epochs]
	trial.ValidationLoss = losses.ValidationLoss[:epochs:epochs]
	return trial, nil
}

// Trial returns a trial, or ErrNotFound.
func (s *Snapshot) Trial(study string, index uint64) (*trellisv1.Trial, error) {
	trial, err := first[*trellisv1.Trial](s.txn, nil, tableTrials, indexID, trialKey(study, index))
	if err == nil && trial == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("trial %d of study %s: %w", index, study, err)
	}
	return s.present(trial)
}

// Best returns the trial that ranks first among those that have been answered: see Compare. ErrNoAnswer if there is none,
// ErrNotFound if there is no such study.
func (s *Snapshot) Best(ws memdb.WatchSet, study string) (*trellisv1.Trial, error) {
	best, _, err := s.bestTwo(ws, study)
	return best, err
}

// GetBestTrial returns the two trials that rank first, with their losses, and the study. It fails as Best does.
func (s *Snapshot) GetBestTrial(request *trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error) {
	study, err := s.Study(nil, request.GetStudy())
	if err != nil {
		return nil, err
	}
	best, runnerUp, err := s.bestTwo(nil, study.Name)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.GetBestTrialResponse{Study: study}
	if response.Trial, err = s.withLosses(best); err != nil {
		return nil, err
	}
	if runnerUp != nil {
		if response.RunnerUp, err = s.withLosses(runnerUp); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// bestTwo returns the best trial and the next in rank, which is nil if only one has been answered.
func (s *Snapshot) bestTwo(ws memdb.WatchSet, study string) (best, runnerUp *trellisv1.Trial, err error) {
	if _, err := s.Study(ws, study); err != nil {
		return nil, nil, err
	}
	ranked, err := scan[*trellisv1.Trial](s.txn, ws, tableTrials, indexRank, textKey(study))
	if err != nil {
		return nil, nil, err
	}
	for trial := range ranked {
		if best != nil {
			return best, trial, nil
		}
		best = trial
	}
	if best == nil {
		return nil, nil, fmt.Errorf("best trial of study %s: %w", study, ErrNoAnswer)
	}
	return best, nil, nil
}
