package fake

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// Coordinator answers as its functions say.
type Coordinator struct {
	trellisv1.UnimplementedStudyServiceServer
	trellisv1.UnimplementedTrialServiceServer
	trellisv1.UnimplementedArtifactServiceServer
	trellisv1.UnimplementedClusterServiceServer
	trellisv1.UnimplementedWorkerServiceServer
	OnWatch    func(*trellisv1.WatchStudyRequest, trellisv1.StudyService_WatchStudyServer) error
	OnCreate   func(context.Context) error
	OnList     func() error
	OnDownload func(*trellisv1.DownloadArtifactRequest, trellisv1.ArtifactService_DownloadArtifactServer) error
	OnBackup   func(trellisv1.ClusterService_BackupServer) error
	OnRestore  func(trellisv1.ClusterService_RestoreServer) error
	OnAdd      func(*trellisv1.AddNodeRequest) error
	OnRetry    func(*trellisv1.RetryStudyRequest) (*trellisv1.RetryStudyResponse, error)
	OnBest     func(*trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error)
	OnTrials   func(*trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error)
	// Models is what ListModels answers.
	Models []*trellisv1.Model
	// Study is what GetStudy answers.
	Study *trellisv1.Study
	// Studies is what ListStudies answers, unless there is list.
	Studies []*trellisv1.Study
	// Workers is what ListWorkers answers.
	Workers []*trellisv1.Worker
	// Ahead is how far the clock is ahead that GetCluster answers with.
	Ahead time.Duration
	// Cluster is what GetCluster answers, after it has failed with the errors in refusals, one after the other.
	Cluster  *trellisv1.GetClusterResponse
	Refusals []error
}

func (f *Coordinator) DownloadArtifact(
	r *trellisv1.DownloadArtifactRequest, s trellisv1.ArtifactService_DownloadArtifactServer,
) error {
	return f.OnDownload(r, s)
}

func (f *Coordinator) Backup(_ *trellisv1.BackupRequest, s trellisv1.ClusterService_BackupServer) error {
	return f.OnBackup(s)
}

func (f *Coordinator) Restore(s trellisv1.ClusterService_RestoreServer) error {
	return f.OnRestore(s)
}

func (f *Coordinator) GetStudy(
	context.Context, *trellisv1.GetStudyRequest,
) (*trellisv1.GetStudyResponse, error) {
	return &trellisv1.GetStudyResponse{Study: f.Study}, nil
}

func (f *Coordinator) GetBestTrial(
	_ context.Context, r *trellisv1.GetBestTrialRequest,
) (*trellisv1.GetBestTrialResponse, error) {
	return f.OnBest(r)
}

func (f *Coordinator) ListTrials(
	_ context.Context, r *trellisv1.ListTrialsRequest,
) (*trellisv1.ListTrialsResponse, error) {
	return f.OnTrials(r)
}

func (f *Coordinator) ListModels(
	context.Context, *trellisv1.ListModelsRequest,
) (*trellisv1.ListModelsResponse, error) {
	return &trellisv1.ListModelsResponse{Models: f.Models}, nil
}

func (f *Coordinator) GetCluster(
	context.Context, *trellisv1.GetClusterRequest,
) (*trellisv1.GetClusterResponse, error) {
	if len(f.Refusals) == 0 {
		answer := proto.CloneOf(f.Cluster)
		if answer.GetStatus() != nil {
			answer.Status.Time = timestamppb.New(time.Now().Add(f.Ahead))
		}
		return answer, nil
	}
	err := f.Refusals[0]
	f.Refusals = f.Refusals[1:]
	return &trellisv1.GetClusterResponse{Nodes: []*trellisv1.Node{{Id: "leaderless"}}}, err
}

func (f *Coordinator) ListWorkers(
	context.Context, *trellisv1.ListWorkersRequest,
) (*trellisv1.ListWorkersResponse, error) {
	return &trellisv1.ListWorkersResponse{Workers: f.Workers}, nil
}

func (f *Coordinator) AddNode(
	_ context.Context, r *trellisv1.AddNodeRequest,
) (*trellisv1.AddNodeResponse, error) {
	return &trellisv1.AddNodeResponse{}, f.OnAdd(r)
}

func (f *Coordinator) WatchStudy(r *trellisv1.WatchStudyRequest, s trellisv1.StudyService_WatchStudyServer) error {
	return f.OnWatch(r, s)
}

func (f *Coordinator) CreateStudy(
	ctx context.Context, _ *trellisv1.CreateStudyRequest,
) (*trellisv1.CreateStudyResponse, error) {
	return &trellisv1.CreateStudyResponse{}, f.OnCreate(ctx)
}

func (f *Coordinator) RetryStudy(
	_ context.Context, r *trellisv1.RetryStudyRequest,
) (*trellisv1.RetryStudyResponse, error) {
	return f.OnRetry(r)
}

func (f *Coordinator) ListStudies(
	context.Context, *trellisv1.ListStudiesRequest,
) (*trellisv1.ListStudiesResponse, error) {
	if f.OnList == nil {
		return &trellisv1.ListStudiesResponse{Studies: f.Studies}, nil
	}
	return &trellisv1.ListStudiesResponse{}, f.OnList()
}

// Serve serves the fake on a free port and returns its address.
func (f *Coordinator) Serve(t *testing.T) string {
	t.Helper()
	address, _ := f.ServeUntil(t)
	return address
}

// ServeUntil serves the fake on a free port until stop is called, or the test ends.
func (f *Coordinator) ServeUntil(t *testing.T) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	trellisv1.RegisterStudyServiceServer(server, f)
	trellisv1.RegisterTrialServiceServer(server, f)
	trellisv1.RegisterArtifactServiceServer(server, f)
	trellisv1.RegisterClusterServiceServer(server, f)
	trellisv1.RegisterWorkerServiceServer(server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	stop = func() {
		server.Stop()
		<-done
	}
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}
