package results

import (
	"fmt"
	"math"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
)

// A trial's row is made when it is answered. Before, and if it never is, the trial is what its run says: see
// Snapshot.trialAt. So a report writes no trial but the one that it answers, however many the run serves.

// answer gives the next of a run's trials its result: what its run says now.
func (c *change) answer(edited *member) error {
	run := edited.run
	catalog, err := c.sections.catalog(run.Study)
	if err != nil {
		return err
	}
	milestone := len(edited.answers)
	trial := newTrial(run, run.Milestones[milestone], catalog.indexes[int(catalog.first[catalog.places[run.Id]])+milestone])
	trial.State = lifecycle.TrialSucceeded
	takeLosses(trial, edited)
	takeTest(trial, edited.losses, run.Epochs)
	if milestone > 0 && edited.answers[milestone-1].BestEpoch == trial.BestEpoch {
		trial.Metrics = edited.answers[milestone-1].Metrics
	}
	edited.answers = append(slices.Clip(edited.answers), trial)
	return nil
}

// newTrial is the run's trial with the given epochs, as long as nothing is known of it.
func newTrial(run *trellisv1.Run, epochs uint32, index uint64) *trellisv1.Trial {
	return &trellisv1.Trial{
		Study: run.Study, Index: index, Parameters: parametersAt(run, epochs), Run: run.Id, State: lifecycle.TrialPending,
	}
}

// takeLosses sets what a trial has of its run so far.
func takeLosses(trial *trellisv1.Trial, its *member) {
	run := its.run
	trial.Epochs, trial.BestEpoch, trial.Objective = run.Epochs, run.BestEpoch, run.BestValidationLoss
	if run.Epochs > 0 && run.BestValidationLoss == nil {
		trial.Objective = proto.Float64(math.NaN())
	}
	trial.Metrics = validationMetrics(its.losses, run.BestEpoch)
}

// openStates says how a trial that has not been answered stands, by the state of its run.
var openStates = map[trellisv1.RunState]trellisv1.TrialState{
	lifecycle.RunPending:  lifecycle.TrialPending,
	lifecycle.RunLeased:   lifecycle.TrialRunning,
	lifecycle.RunFailed:   lifecycle.TrialFailed,
	lifecycle.RunCanceled: lifecycle.TrialCanceled,
	lifecycle.RunPruned:   lifecycle.TrialPruned,
}

// present returns a trial of a run as it stands: its row if it has been answered, else what its run says.
func (c *catalog) present(member *member, number, milestone uint32) *trellisv1.Trial {
	if int(milestone) < len(member.answers) {
		return member.answers[milestone]
	}
	run := member.run
	trial := newTrial(run, run.Milestones[milestone], c.indexes[number])
	trial.State, trial.Error = openStates[run.State], run.Error
	takeLosses(trial, member)
	return trial
}

// trialAt returns the trial of a number.
func (s *Snapshot) trialAt(c *catalog, number uint32) (*trellisv1.Trial, error) {
	place, milestone := c.runOf(number)
	member, err := s.memberAt(nil, c.study, place)
	if err != nil {
		return nil, err
	}
	return c.present(member, number, milestone), nil
}

// catalog returns a study's catalog, or ErrNotFound.
func (s *Snapshot) catalog(study string) (*catalog, error) {
	c, err := first[*catalog](s.reader, nil, tableCatalogs, indexID, textKey(study))
	if err == nil && c == nil {
		err = fmt.Errorf("study %s: %w", study, ErrNotFound)
	}
	return c, err
}

// Trial returns a trial, or ErrNotFound.
func (s *Snapshot) Trial(study string, index uint64) (*trellisv1.Trial, error) {
	trial, err := s.trial(study, index)
	if err != nil {
		return nil, fmt.Errorf("trial %d of study %s: %w", index, study, err)
	}
	return trial, nil
}

func (s *Snapshot) trial(study string, index uint64) (*trellisv1.Trial, error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	at := c.from(index)
	if at == len(c.byIndex) || c.indexes[c.byIndex[at]] != index {
		return nil, ErrNotFound
	}
	return s.trialAt(c, c.byIndex[at])
}

// Best returns the trial that ranks first among those that have been answered: see Compare. ErrNoAnswer if there is none,
// ErrNotFound if there is no such study.
func (s *Snapshot) Best(ws memdb.WatchSet, study string) (*trellisv1.Trial, error) {
	if _, err := s.Study(ws, study); err != nil {
		return nil, err
	}
	ranked, err := s.ranked(ws, study, listing.Key{})
	if err != nil {
		return nil, err
	}
	for trial := range ranked {
		return trial, nil
	}
	return nil, fmt.Errorf("best trial of study %s: %w", study, ErrNoAnswer)
}
