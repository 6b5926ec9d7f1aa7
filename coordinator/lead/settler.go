package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/insight"
)

const (
	// settleInterval is how often the settler looks without having been woken.
	settleInterval = time.Second
	// settleBatch is how many trials one command adds at most. What is left of a look is added when these have ended.
	settleBatch = 10_000
)

// settler gives the contenders of studies that are to be settled further seeds. It is one of the leader's loops.
//
// It keeps nothing: what a study needs next follows from what its trials have given (see insight.NextSeed). So a
// new leader goes on where the old one was. A command that arrives twice, or after the study has been extended, is
// refused by its indices. Each adds trials that the study does not have, of which there are finitely many, or says that
// it is settled: whatever fails, it comes to an end.
type settler struct {
	store  Snapshots
	log    proposer
	logger *slog.Logger
	// woken rings when a study may have come to where it is to be looked at.
	woken bell
}

func (s *settler) run(ctx context.Context) {
	ticker := time.NewTicker(settleInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		changed, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("could not settle a study; will try again", "error", err)
		}
		if changed && err == nil {
			// What was added may be known from other studies, and have ended already.
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.woken:
		case <-ticker.C:
		}
	}
}

// round looks once at every study, and says whether it has changed one.
func (s *settler) round(ctx context.Context) (changed bool, err error) {
	snapshot := s.store.Snapshot()
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return false, err
	}
	var failures []error
	for _, study := range studies {
		if !awaitsSettling(study) {
			continue
		}
		points, err := insight.NextSeed(snapshot, study)
		if err == nil {
			err = s.extend(ctx, study, points)
		}
		changed = changed || err == nil
		failures = append(failures, err)
	}
	return changed, errors.Join(failures...)
}

// awaitsSettling says whether a study would have ended, were it not to be settled.
func awaitsSettling(study *trellisv1.Study) bool {
	p := study.GetProgress()
	ended := p.GetRunsSucceeded() + p.GetRunsFailed() + p.GetRunsCanceled() + p.GetRunsPruned()
	return study.GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING && study.GetSpec().GetSettle() != nil &&
		!study.GetSettled() && ended == p.GetRuns()
}

// extend adds trials to the study, or says that it is settled if there are none to add.
func (s *settler) extend(ctx context.Context, study *trellisv1.Study, points []*trellisv1.Parameters) error {
	command := &trellisv1.ExtendStudyCommand{
		Study: study.GetName(), Indices: study.GetIndices(), Points: points[:min(len(points), settleBatch)],
		Settled: len(points) == 0,
	}
	logger := s.logger.With("study", study.GetName())
	err := s.propose(ctx, command)
	if errors.Is(err, results.ErrInvalid) && !command.GetSettled() {
		// For example, the study would have more trials than a study may have. It must not wait forever.
		logger.Error("the study can't be given more seeds, and is taken as settled", "error", err)
		command.Points, command.Settled = nil, true
		err = s.propose(ctx, command)
	}
	switch {
	case errors.Is(err, results.ErrStudyChanged), errors.Is(err, results.ErrNotFound),
		errors.Is(err, results.ErrIllegalMove):
		// Somebody has extended, canceled or deleted it meanwhile. Whether it is to be settled still, the next round
		// sees.
		return nil
	case err != nil:
		return fmt.Errorf("settle study %s: %w", study.GetName(), err)
	case command.GetSettled():
		logger.Info("study settled, as far as its budget allows")
	default:
		logger.Info("contenders get another seed", "seed", points[0].GetSeed(), "contenders", len(points),
			"now", len(command.GetPoints()))
	}
	return nil
}

func (s *settler) propose(ctx context.Context, command *trellisv1.ExtendStudyCommand) error {
	_, err := s.log.ProposePatiently(ctx,
		&trellisv1.Command{Change: &trellisv1.Command_ExtendStudy{ExtendStudy: command}})
	return err
}
