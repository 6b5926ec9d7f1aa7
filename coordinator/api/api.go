package api

import (
	"context"
	"io"
	"log/slog"

	"google.golang.org/grpc"

	"trellis/coordinator/artifact"
	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// ForwardedBy is the metadata key of a call that a node has passed on, or makes itself: that node's address. Such a
// call is not passed on again.
const ForwardedBy = "trellis-forwarded-by"

// Snapshots is the store.
type Snapshots interface {
	Snapshot() *results.Snapshot
}

var _ Snapshots = (*results.Store)(nil)

// Log takes commands. Only the leader's does.
type Log interface {
	// Propose appends a command and returns the state machine's answer, as the error if it is one.
	Propose(ctx context.Context, command *trellisv1.Command) (answer any, err error)
}

// DataSets is where the coordinator finds the data sets that it serves to workers.
type DataSets interface {
	// Find returns the verified data set of that name. The error of an unknown one says which there are.
	Find(ctx context.Context, name string) (*trellisv1.DataSet, error)
	// Open returns the uncompressed content of a file of a data set that Find has returned.
	Open(ctx context.Context, digest, sha256 string) (io.ReadCloser, error)
}

// Config is what the services need.
type Config struct {
	// Numerics is the version of the arithmetic that workers must have.
	Numerics string
	// Models are what workers can train.
	Models grid.Models
	// Address is how others reach this node, Version the binary's.
	Address, Version string
	// Data is the data directory, empty if the log is in memory.
	Data string
	// MinFreeDisk is the share of its file system that must be free for a new study.
	MinFreeDisk float64

	Store     Snapshots
	Log       Log
	DataSets  DataSets
	Artifacts *artifact.Keeper
	Forecasts *forecast.Maker
	Sessions  Sessions
	Node      Node
	// Stopping is done, with the error that streams end with, when the node stops: those that would go on forever end
	// then.
	Stopping context.Context
	Logger   *slog.Logger
}

// Register registers all services.
func Register(server grpc.ServiceRegistrar, c Config) {
	trellisv1.RegisterStudyServiceServer(server, studyService{
		numerics: c.Numerics, models: c.Models, store: c.Store, log: c.Log, dataSets: c.DataSets,
		artifacts: c.Artifacts,
		forecasts: c.Forecasts, disk: disk{folder: c.Data, minFree: c.MinFreeDisk}, creating: make(chan struct{}, 1),
		stopping: c.Stopping, logger: c.Logger,
	})
	trellisv1.RegisterTrialServiceServer(server, trialService{
		numerics: c.Numerics, models: c.Models, store: c.Store, forecasts: c.Forecasts,
	})
	trellisv1.RegisterDataSetServiceServer(server, dataSetService{store: c.Store, dataSets: c.DataSets})
	trellisv1.RegisterWorkerServiceServer(server, workerService{
		numerics: c.Numerics, store: c.Store, sessions: c.Sessions, stopping: c.Stopping,
	})
	trellisv1.RegisterClusterServiceServer(server, clusterService{
		address: c.Address, version: c.Version, node: c.Node, logger: c.Logger,
	})
	trellisv1.RegisterArtifactServiceServer(server, artifactService{artifacts: c.Artifacts, stopping: c.Stopping})
}
