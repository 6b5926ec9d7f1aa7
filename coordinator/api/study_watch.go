package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
)

const (
	// watchInterval is the shortest time between two responses of a watch.
	watchInterval = 100 * time.Millisecond
	// watchRuns and watchBytes bound the runs that one response of a watch carries: their number, and their size, which
	// may exceed the limit by at most one run.
	watchRuns  = 1000
	watchBytes = 1 << 20
	// firstRuns is how many runs a watch begins with at most. If there are more, it begins with those that are being
	// trained and lastRuns others.
	firstRuns = 10_000
	lastRuns  = 1000
)

// WatchStudy sends a study's state whenever it changes, until the study has ended. Each response is made from the store
// when it is sent. So a slow reader misses states in between, but never falls behind.
func (s studyService) WatchStudy(
	request *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer,
) error {
	since := request.GetSinceIndex()
	for {
		watch := memdb.NewWatchSet()
		watch.Add(s.memory.Changed())
		snapshot := s.store.Snapshot().Within(stream.Context())
		study, err := snapshot.Study(watch, request.GetStudy())
		if err != nil {
			return Status(err)
		}
		// A client may come back with an index from before the coordinator lost its state, or from an earlier study of
		// the same name.
		if since > study.GetModifyIndex() {
			since = 0
		}
		presented, err := snapshot.Presented(study)
		if err != nil {
			return Status(err)
		}
		if err := s.sendChanges(stream, snapshot, presented, since, request.GetAllRuns()); err != nil {
			return Status(err)
		}
		since = study.GetModifyIndex()
		if lifecycle.StudyEnded(study.GetState()) {
			return nil
		}
		if err := awaitChange(stream.Context(), s.stopping, watch); err != nil {
			return err
		}
	}
}

// awaitChange waits until a watch fires, and a little for what comes with it.
func awaitChange(ctx, stopping context.Context, watch memdb.WatchSet) error {
	watch.Add(stopping.Done())
	if err := watch.WatchCtx(ctx); err != nil {
		return Status(err)
	}
	select {
	case <-stopping.Done():
		return context.Cause(stopping)
	case <-ctx.Done():
		return Status(ctx.Err())
	case <-time.After(watchInterval):
		return nil
	}
}

// sendChanges sends what has changed after index since. Only the last of its responses carries the study's index. So a
// client that loses the stream in between gets all of them again.
func (s studyService) sendChanges(
	stream trellisv1.StudyService_WatchStudyServer, snapshot *results.Snapshot, study *trellisv1.Study, since uint64,
	all bool,
) error {
	changed, err := s.changes(stream.Context(), snapshot, study, since, all)
	if err != nil {
		return err
	}
	runs := changed.runs
	send := func(index uint64, runs []*trellisv1.Run) error {
		metrics, err := snapshot.LastMetrics(study.GetName(), runs)
		if err != nil {
			return err
		}
		return stream.Send(&trellisv1.WatchStudyResponse{
			Index: index, Study: changed.study, Runs: runs, Best: changed.best,
			Metrics: metrics, Partial: changed.partial,
		})
	}
	for n := onePart(runs); n < len(runs); n = onePart(runs) {
		if err := send(since, runs[:n]); err != nil {
			return err
		}
		runs = runs[n:]
	}
	return send(study.GetModifyIndex(), runs)
}

// changes are what a watch tells of a study. partial says that some runs that have changed are not among them.
type changes struct {
	study   *trellisv1.Study
	best    *trellisv1.Trial
	runs    []*trellisv1.Run
	partial bool
}

// changes finds what has changed after index since, with the study as it is shown. In a large study that takes a while,
// so that watches take turns. They send what they have found without one, nor do they hold one while they wait for a
// forecast, which may be long, and whose maker has turns of its own. Of what has changed since the study was created,
// it is a part where there is much, unless all is asked for.
func (s studyService) changes(
	ctx context.Context, snapshot *results.Snapshot, study *trellisv1.Study, since uint64, all bool,
) (*changes, error) {
	c := &changes{study: s.waiting(s.forecasts.On(snapshot, study))}
	release, err := s.turns.Watch.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if c.best, err = snapshot.Best(nil, study.GetName()); err != nil && !errors.Is(err, results.ErrNoAnswer) {
		return nil, err
	}
	if c.best.GetState() == trellisv1.TrialState_TRIAL_STATE_DIVERGED {
		c.best = nil
	}
	if c.runs, c.partial, err = changedRuns(snapshot, study, since, all); err != nil {
		return nil, fmt.Errorf("find what has changed: %w", err)
	}
	return c, nil
}

// changedRuns returns the runs that have changed after index since, and whether some have been left out. Runs that have
// not changed since the study was created are not sent.
func changedRuns(
	snapshot *results.Snapshot, study *trellisv1.Study, since uint64, all bool,
) (runs []*trellisv1.Run, partial bool, err error) {
	if created := study.GetCreateIndex(); all || since >= created {
		runs, err = snapshot.RunsChangedSince(study.GetName(), max(since, created))
	} else {
		runs, all, err = snapshot.LatestRuns(study.GetName(), created, firstRuns, lastRuns)
		partial = !all
	}
	return runs, partial, err
}

// onePart returns how many of the runs one response carries.
func onePart(runs []*trellisv1.Run) int {
	size := 0
	for n, run := range runs[:min(len(runs), watchRuns)] {
		if size >= watchBytes {
			return n
		}
		size += proto.Size(run)
	}
	return min(len(runs), watchRuns)
}
