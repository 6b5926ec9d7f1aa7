package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
)

// timekeeperInterval is how often the timekeeper looks, and so how late it may be.
const timekeeperInterval = time.Second

// timekeeper ends the studies whose budget of time is over: what has not begun is canceled, and what has goes on. It is
// one of the leader's loops, and keeps no state: a new leader sees the same. The command says when it was proposed, and
// is refused if the study got more time before.
type timekeeper struct {
	store  Snapshots
	log    proposer
	logger *slog.Logger
}

func (k *timekeeper) run(ctx context.Context) {
	ticker := time.NewTicker(timekeeperInterval)
	defer ticker.Stop()
	for {
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			k.logger.Warn("could not end a study whose time is over; will retry", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round looks once at every study.
func (k *timekeeper) round(ctx context.Context) error {
	snapshot := k.store.Snapshot()
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return err
	}
	var failures []error
	for _, study := range studies {
		if study.GetState() != lifecycle.StudyRunning || !results.TimeIsOver(study, time.Now()) {
			continue
		}
		begins, err := mayBegin(snapshot, study)
		if err == nil && begins {
			err = k.end(ctx, study)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// mayBegin says whether a study has a run that waits for its first epoch.
func mayBegin(snapshot *results.Snapshot, study *trellisv1.Study) (bool, error) {
	waiting, err := snapshot.WaitingRuns(study.GetName())
	if err != nil {
		return false, err
	}
	for run := range waiting {
		if results.NotBegun(run) {
			return true, nil
		}
	}
	return false, nil
}

func (k *timekeeper) end(ctx context.Context, study *trellisv1.Study) error {
	_, err := k.log.ProposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_EndTimeBudget{
		EndTimeBudget: &trellisv1.EndTimeBudgetCommand{Study: study.GetName(), CreateIndex: study.GetCreateIndex()},
	}})
	switch {
	case errors.Is(err, results.ErrIllegalMove), errors.Is(err, results.ErrNotFound):
		return nil // Somebody has given it more time, paused or deleted it meanwhile.
	case err != nil:
		return fmt.Errorf("end the time of study %q: %w", study.GetName(), err)
	}
	k.logger.Info("time budget over: what has not begun is not trained", "study", study.GetName(),
		"time", study.GetSpec().GetBudget().GetTime().AsDuration())
	return nil
}

// sharer copies what other studies have trained into studies that share in parts: in a command for each part, so that none
// holds the log for long. It is one of the leader's loops, and keeps no state: a new leader goes on.
type sharer struct {
	store  Snapshots
	log    proposer
	logger *slog.Logger
	woken  bell
}

// sharerInterval is how often the sharer looks without being woken.
const sharerInterval = 10 * time.Second

func (s *sharer) run(ctx context.Context) {
	ticker := time.NewTicker(sharerInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		more, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("could not copy what other studies have trained; will retry", "error", err)
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.woken:
		case <-ticker.C:
		}
	}
}

// round copies one part into each study that shares in parts, and says whether there was any.
func (s *sharer) round(ctx context.Context) (more bool, err error) {
	studies, err := s.store.Snapshot().Studies(nil)
	if err != nil {
		return false, err
	}
	var failures []error
	for _, study := range studies {
		if study.GetSharing() == nil {
			continue
		}
		more = true
		_, err := s.log.ProposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_ShareRuns{
			ShareRuns: &trellisv1.ShareRunsCommand{
				Study: study.GetName(), CreateIndex: study.GetCreateIndex(), NextSection: study.GetSharing().GetNextSection(),
			},
		}})
		if err != nil && !errors.Is(err, results.ErrIllegalMove) && !errors.Is(err, results.ErrNotFound) {
			failures = append(failures, fmt.Errorf("share the runs of study %q: %w", study.GetName(), err))
		}
	}
	return more, errors.Join(failures...)
}
