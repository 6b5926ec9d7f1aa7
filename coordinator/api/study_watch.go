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
		if err := s.sendChanges(stream, snapshot, presented, since); err != nil {
			return Status(err)
		}
		since = study.GetModifyIndex()
		if lifecycle.StudyEnded(study.GetState()) {
			return nil
		}
		watch.Add(s.stopping.Done())
		if err := watch.WatchCtx(stream.Context()); err != nil {
			return Status(err)
		}
		select {
		case <-s.stopping.Done():
			return context.Cause(s.stopping)
		case <-stream.Context().Done():
			return Status(stream.Context().Err())
		case <-time.After(watchInterval):
		}
	}
}

// sendChanges sends what has changed after index since. Only the last of its responses carries the study's index. So a
// client that loses the stream in between gets all of them again.
func (s studyService) sendChanges(
	stream trellisv1.StudyService_WatchStudyServer, snapshot *results.Snapshot, study *trellisv1.Study, since uint64,
) error {
	study, best, runs, err := s.changes(stream.Context(), snapshot, study, since)
	if err != nil {
		return err
	}
	send := func(index uint64, runs []*trellisv1.Run) error {
		metrics, err := snapshot.LastMetrics(study.GetName(), runs)
		if err != nil {
			return err
		}
		return stream.Send(&trellisv1.WatchStudyResponse{
			Index: index, Study: study, Runs: runs, Best: best,
			Metrics: metrics,
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

// changes finds what has changed after index since, with the study as it is shown. In a large study that takes a while,
// so that watches take turns. They send what they have found without one.
func (s studyService) changes(ctx context.Context, snapshot *results.Snapshot, study *trellisv1.Study, since uint64) (
	shown *trellisv1.Study, best *trellisv1.Trial, runs []*trellisv1.Run, err error,
) {
	release, err := s.turns.Watch.take(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	defer release()
	shown = s.waiting(s.forecasts.On(snapshot, study))
	if best, err = snapshot.Best(nil, study.GetName()); err != nil && !errors.Is(err, results.ErrNoAnswer) {
		return nil, nil, nil, err
	}
	if best.GetState() == trellisv1.TrialState_TRIAL_STATE_DIVERGED {
		best = nil
	}
	// Runs that have not changed since the study was created are not sent.
	runs, err = snapshot.RunsChangedSince(study.GetName(), max(since, study.GetCreateIndex()))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find what has changed: %w", err)
	}
	return shown, best, runs, nil
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
