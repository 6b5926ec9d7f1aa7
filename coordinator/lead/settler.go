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
	// settleInterval is how often the settler looks without being woken.
	settleInterval = time.Second
	// settleBatch is the maximum number of trials that one command adds. The rest of a look is added when these have
	// ended.
	settleBatch = 10_000
)

// settler adds seeds to the contenders of studies with settle. It is one of the leader's loops.
//
// It keeps no state: what a study needs next follows from the results of its trials (see insight.NextSeed). So a new
// leader continues where the old one stopped. A command that arrives twice, or after the study has been extended, is
// refused because of its indices. Each command either adds trials that the study does not have, of which there are
// finitely many, or says that the study is settled. So whatever fails, settling ends.
type settler struct {
	store  Snapshots
	log    proposer
	logger *slog.Logger
	// woken is rung when there may be a study to look at.
	woken bell
}

func (s *settler) run(ctx context.Context) {
	ticker := time.NewTicker(settleInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		changed, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("could not settle a study; will retry", "error", err)
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
		var points []*trellisv1.Parameters
		var err error
		if !results.TimeIsOver(study, time.Now()) {
			points, err = insight.NextSeed(snapshot, study)
		}
		if err == nil {
			err = s.extend(ctx, study, points)
		}
		changed = changed || err == nil
		failures = append(failures, err)
	}
	return changed, errors.Join(failures...)
}

// awaitsSettling says whether a study would have ended if it had no settle. Audits come first: they may change who is
// best.
func awaitsSettling(study *trellisv1.Study) bool {
	p := study.GetProgress()
	ended := p.GetRunsSucceeded() + p.GetRunsFailed() + p.GetRunsCanceled() + p.GetRunsPruned()
	return study.GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING && study.GetSpec().GetSettle() != nil &&
		!study.GetSettled() && ended == p.GetRuns() && p.GetAuditsDue() == 0
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
		logger.Error("can't add seeds to the study; it counts as settled", "error", err)
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
		return fmt.Errorf("settle study %q: %w", study.GetName(), err)
	case command.GetSettled():
		logger.Info("study settled, as far as its maximum number of seeds allows")
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
