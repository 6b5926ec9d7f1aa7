package command

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
)

// fakeCoordinator answers as its functions say.
type fakeCoordinator struct {
	trellisv1.UnimplementedStudyServiceServer
	trellisv1.UnimplementedTrialServiceServer
	trellisv1.UnimplementedArtifactServiceServer
	trellisv1.UnimplementedClusterServiceServer
	watch    func(*trellisv1.WatchStudyRequest, trellisv1.StudyService_WatchStudyServer) error
	create   func(context.Context) error
	list     func() error
	download func(*trellisv1.DownloadArtifactRequest, trellisv1.ArtifactService_DownloadArtifactServer) error
	backup   func(trellisv1.ClusterService_BackupServer) error
	restore  func(trellisv1.ClusterService_RestoreServer) error
	add      func(*trellisv1.AddNodeRequest) error
	retry    func(*trellisv1.RetryStudyRequest) (*trellisv1.RetryStudyResponse, error)
	best     func(*trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error)
	// models is what ListModels answers.
	models []*trellisv1.Model
	// study is what GetStudy answers.
	study *trellisv1.Study
	// studies is what ListStudies answers, unless there is list.
	studies []*trellisv1.Study
	// cluster is what GetCluster answers, after it has failed with the errors in refusals, one after the other.
	cluster  *trellisv1.GetClusterResponse
	refusals []error
}

func (f *fakeCoordinator) DownloadArtifact(
	r *trellisv1.DownloadArtifactRequest, s trellisv1.ArtifactService_DownloadArtifactServer,
) error {
	return f.download(r, s)
}

func (f *fakeCoordinator) Backup(_ *trellisv1.BackupRequest, s trellisv1.ClusterService_BackupServer) error {
	return f.backup(s)
}

func (f *fakeCoordinator) Restore(s trellisv1.ClusterService_RestoreServer) error {
	return f.restore(s)
}

func (f *fakeCoordinator) GetStudy(
	context.Context, *trellisv1.GetStudyRequest,
) (*trellisv1.GetStudyResponse, error) {
	return &trellisv1.GetStudyResponse{Study: f.study}, nil
}

func (f *fakeCoordinator) GetBestTrial(
	_ context.Context, r *trellisv1.GetBestTrialRequest,
) (*trellisv1.GetBestTrialResponse, error) {
	return f.best(r)
}

func (f *fakeCoordinator) ListModels(
	context.Context, *trellisv1.ListModelsRequest,
) (*trellisv1.ListModelsResponse, error) {
	return &trellisv1.ListModelsResponse{Models: f.models}, nil
}

func (f *fakeCoordinator) GetCluster(
	context.Context, *trellisv1.GetClusterRequest,
) (*trellisv1.GetClusterResponse, error) {
	if len(f.refusals) == 0 {
		return f.cluster, nil
	}
	err := f.refusals[0]
	f.refusals = f.refusals[1:]
	return &trellisv1.GetClusterResponse{Nodes: []*trellisv1.Node{{Id: "leaderless"}}}, err
}

func (f *fakeCoordinator) AddNode(
	_ context.Context, r *trellisv1.AddNodeRequest,
) (*trellisv1.AddNodeResponse, error) {
	return &trellisv1.AddNodeResponse{}, f.add(r)
}

func (f *fakeCoordinator) WatchStudy(r *trellisv1.WatchStudyRequest, s trellisv1.StudyService_WatchStudyServer) error {
	return f.watch(r, s)
}

func (f *fakeCoordinator) CreateStudy(
	ctx context.Context, _ *trellisv1.CreateStudyRequest,
) (*trellisv1.CreateStudyResponse, error) {
	return &trellisv1.CreateStudyResponse{}, f.create(ctx)
}

func (f *fakeCoordinator) RetryStudy(
	_ context.Context, r *trellisv1.RetryStudyRequest,
) (*trellisv1.RetryStudyResponse, error) {
	return f.retry(r)
}

func (f *fakeCoordinator) ListStudies(
	context.Context, *trellisv1.ListStudiesRequest,
) (*trellisv1.ListStudiesResponse, error) {
	if f.list == nil {
		return &trellisv1.ListStudiesResponse{Studies: f.studies}, nil
	}
	return &trellisv1.ListStudiesResponse{}, f.list()
}

// serve serves the fake on a free port and returns its address.
func (f *fakeCoordinator) serve(t *testing.T) string {
	t.Helper()
	address, _ := f.serveUntil(t)
	return address
}

// serveUntil serves the fake on a free port until stop is called, or the test ends.
func (f *fakeCoordinator) serveUntil(t *testing.T) (address string, stop func()) {
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
