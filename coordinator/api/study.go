package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

const (
	// watchInterval is how often a watch sends at most.
	watchInterval = 100 * time.Millisecond
	// watchRuns and watchBytes are how many runs one response of a watch carries, by number and, at most by one run more, by
	// size.
	watchRuns  = 1000
	watchBytes = 1 << 20
)

// studyService changes studies through the log and reads them from the store.
type studyService struct {
	trellisv1.UnimplementedStudyServiceServer
	*Coordinator
}

// CreateStudy admits a study: everything about it that can be wrong is checked here, before it reaches the log.
func (s studyService) CreateStudy(ctx context.Context, request *trellisv1.CreateStudyRequest) (*trellisv1.CreateStudyResponse, error) {
	command, err := s.createCommand(ctx, request.GetSpec(), request.GetFresh())
	if source := command.GetPretrained(); err == nil && source != nil {
		err = s.keepSource(ctx, source)
	}
	if err != nil {
		name := request.GetSpec().GetName()
		if _, known := s.get(ctx, name); known == nil && request.GetSpec().GetPretrained() != nil {
			// Who submits a study again does not ask for its source, which may be gone.
			return nil, errStudyExists(name)
		}
		return nil, err
	}
	select {
	case s.creating <- struct{}{}:
		defer func() { <-s.creating }()
	case <-ctx.Done(): // The one before may wait for a majority that is not there.
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err := s.checkRoom(); err != nil {
		return nil, err
	}
	name := command.GetSpec().GetName()
	_, _, err = s.propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: command}})
	if errors.Is(err, results.ErrExists) {
		return nil, errStudyExists(name)
	}
	if err != nil {
		return nil, statusOf(err)
	}
	study, err := s.get(ctx, name)
	if err != nil {
		return nil, err
	}
	progress := study.GetProgress()
	s.logger.Info("study created", "study", name, "trials", progress.GetTrials(), "runs", progress.GetRuns(), "fresh", study.GetFresh())
	if shared := progress.GetEpochsShared(); shared > 0 {
		s.logger.Info("study has taken over what other studies know", "study", name, "epochs", shared,
			"seconds", progress.GetSecondsShared(), "trials answered", progress.GetTrialsSucceeded(), "runs ended", progress.GetRunsSucceeded(),
			"epochs left", progress.GetEpochsLeft())
	}
	return &trellisv1.CreateStudyResponse{Study: study}, nil
}

func errStudyExists(name string) error {
	return status.Errorf(codes.AlreadyExists, "a study named %s exists already: give this one another name, or delete that one", name)
}

// createCommand checks a spec, and makes it the command that creates its study.
func (s studyService) createCommand(ctx context.Context, spec *trellisv1.StudySpec, fresh bool) (*trellisv1.CreateStudyCommand, error) {
	if err := s.models.Validate(spec); err != nil {
		return nil, statusOf(err)
	}
	if err := s.checkDisk(); err != nil {
		return nil, err
	}
	spec, source, err := s.resolvePretrained(s.models.WithDefaults(spec))
	if err != nil {
		return nil, err
	}
	command := &trellisv1.CreateStudyCommand{Spec: spec, Numerics: s.config.Numerics, Fresh: fresh, Pretrained: source}
	if spec.GetData() == "" {
		return command, nil
	}
	dataSet, err := s.dataSets.Find(ctx, spec.GetData())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "data: %v", err)
	}
	if spec.Split, err = grid.ResolveSplit(spec, dataSet); err != nil {
		return nil, statusOf(err)
	}
	command.DataSet = dataSet
	return command, nil
}

// checkRoom says whether one more study can be kept.
func (s studyService) checkRoom() error {
	studies, err := s.store.Snapshot().Studies(nil)
	if err != nil {
		return statusOf(err)
	}
	if len(studies) >= MaxStudies {
		return status.Errorf(codes.ResourceExhausted, "this coordinator keeps %d studies, the most it can: delete one that is no longer needed", MaxStudies)
	}
	return nil
}

// ListModels lists what can be trained: what the leader was given.
func (s studyService) ListModels(context.Context, *trellisv1.ListModelsRequest) (*trellisv1.ListModelsResponse, error) {
	return &trellisv1.ListModelsResponse{Models: s.models}, nil
}

// GetStudy returns a study, with what is to come of it.
func (s studyService) GetStudy(_ context.Context, request *trellisv1.GetStudyRequest) (*trellisv1.GetStudyResponse, error) {
	snapshot := s.store.Snapshot()
	study, err := snapshot.Study(nil, request.GetStudy())
	if err != nil {
		return nil, statusOf(err)
	}
	return &trellisv1.GetStudyResponse{Study: s.forecasts.on(snapshot, study)}, nil
}

func (s studyService) get(_ context.Context, name string) (*trellisv1.Study, error) {
	study, err := s.store.Snapshot().Study(nil, name)
	return study, statusOf(err)
}

// ListStudies returns a page of the studies, oldest first, with what is to come of those that are running.
func (s studyService) ListStudies(_ context.Context, request *trellisv1.ListStudiesRequest) (*trellisv1.ListStudiesResponse, error) {
	snapshot := s.store.Snapshot()
	response, err := snapshot.ListStudies(request)
	if err != nil {
		return nil, statusOf(err)
	}
	s.forecasts.onAll(snapshot, response.GetStudies())
	return response, nil
}

// PauseStudy stops a study's runs until it is resumed.
func (s studyService) PauseStudy(ctx context.Context, request *trellisv1.PauseStudyRequest) (*trellisv1.PauseStudyResponse, error) {
	study, err := s.move(ctx, request.GetStudy(), trellisv1.StudyState_STUDY_STATE_PAUSED)
	if err != nil {
		return nil, err
	}
	return &trellisv1.PauseStudyResponse{Study: study}, nil
}

// ResumeStudy lets a paused study go on.
func (s studyService) ResumeStudy(ctx context.Context, request *trellisv1.ResumeStudyRequest) (*trellisv1.ResumeStudyResponse, error) {
	study, err := s.move(ctx, request.GetStudy(), trellisv1.StudyState_STUDY_STATE_RUNNING)
	if err != nil {
		return nil, err
	}
	return &trellisv1.ResumeStudyResponse{Study: study}, nil
}

// CancelStudy ends a study for good.
func (s studyService) CancelStudy(ctx context.Context, request *trellisv1.CancelStudyRequest) (*trellisv1.CancelStudyResponse, error) {
	study, err := s.move(ctx, request.GetStudy(), trellisv1.StudyState_STUDY_STATE_CANCELED)
	if err != nil {
		return nil, err
	}
	return &trellisv1.CancelStudyResponse{Study: study}, nil
}

// move changes a study's state. Its attempts end with the change; the workers are told by their sessions.
func (s studyService) move(ctx context.Context, name string, state trellisv1.StudyState) (*trellisv1.Study, error) {
	_, _, err := s.propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_SetStudyState{
		SetStudyState: &trellisv1.SetStudyStateCommand{Study: name, State: state},
	}})
	if err != nil {
		return nil, statusOf(err)
	}
	s.logger.Info("study changed state", "study", name, "state", state)
	return s.get(ctx, name)
}

// DeleteStudy forgets a study and its results.
func (s studyService) DeleteStudy(ctx context.Context, request *trellisv1.DeleteStudyRequest) (*trellisv1.DeleteStudyResponse, error) {
	_, _, err := s.propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_DeleteStudy{
		DeleteStudy: &trellisv1.DeleteStudyCommand{Study: request.GetStudy()},
	}})
	if err != nil {
		return nil, statusOf(err)
	}
	s.logger.Info("study deleted", "study", request.GetStudy())
	return &trellisv1.DeleteStudyResponse{}, nil
}

// WatchStudy sends a study's state whenever it changes, until the study has ended. Each response is made from the store
// at the time it is sent, so that a slow reader misses states in between but never falls behind.
func (s studyService) WatchStudy(request *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer) error {
	since := request.GetSinceIndex()
	for {
		watch := memdb.NewWatchSet()
		snapshot := s.store.Snapshot()
		study, err := snapshot.Study(watch, request.GetStudy())
		if err != nil {
			return statusOf(err)
		}
		// A client may come back with the index of another coordinator's life, or of a study of the same name.
		if since > study.GetModifyIndex() {
			since = 0
		}
		if err := sendChanges(stream, snapshot, s.forecasts.on(snapshot, study), since); err != nil {
			return statusOf(err)
		}
		since = study.GetModifyIndex()
		if ended(study) {
			return nil
		}
		watch.Add(s.stopping)
		if err := watch.WatchCtx(stream.Context()); err != nil {
			return statusOf(err)
		}
		select {
		case <-s.stopping:
			return errStopping
		case <-stream.Context().Done():
			return statusOf(stream.Context().Err())
		case <-time.After(watchInterval):
		}
	}
}

// sendChanges sends what has changed after index since. Only the last of its responses carries the study's index, so
// that a client that loses the stream in between is sent all of them again.
func sendChanges(stream trellisv1.StudyService_WatchStudyServer, snapshot *results.Snapshot, study *trellisv1.Study, since uint64) error {
	best, err := snapshot.Best(nil, study.GetName())
	if err != nil && !errors.Is(err, results.ErrNoAnswer) {
		return err
	}
	// Runs that nothing has happened to since the study was created are not news.
	runs, err := snapshot.RunsChangedSince(study.GetName(), max(since, study.GetCreateIndex()))
	if err != nil {
		return fmt.Errorf("find what has changed: %w", err)
	}
	send := func(index uint64, runs []*trellisv1.Run) error {
		metrics, err := snapshot.LastMetrics(study.GetName(), runs)
		if err != nil {
			return err
		}
		return stream.Send(&trellisv1.WatchStudyResponse{Index: index, Study: study, Runs: runs, Best: best, Metrics: metrics})
	}
	for n := onePart(runs); n < len(runs); n = onePart(runs) {
		if err := send(since, runs[:n]); err != nil {
			return err
		}
		runs = runs[n:]
	}
	return send(study.GetModifyIndex(), runs)
}

// onePart is how many of the runs one response carries.
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

// ended says whether nothing more will happen to the study.
func ended(study *trellisv1.Study) bool {
	switch study.GetState() {
	case trellisv1.StudyState_STUDY_STATE_COMPLETED, trellisv1.StudyState_STUDY_STATE_CANCELED:
		return true
	default:
		return false
	}
}
