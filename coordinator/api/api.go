package api

import (
	"context"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"trellis/coordinator/artifact"
	"trellis/coordinator/forecast"
	"trellis/coordinator/spans"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// ForwardedBy is the metadata key of a call that a node has forwarded or makes itself. Its value is that node's
// address. Such a call is not forwarded again.
const ForwardedBy = "trellis-forwarded-by"

// Snapshots gives read access to the store.
type Snapshots interface {
	Snapshot() *results.Snapshot
}

var _ Snapshots = (*results.Store)(nil)

// Log accepts commands that calls ask for. Only the leader's log does.
type Log interface {
	// Propose appends a command and returns the state machine's answer. If the answer is an error, it returns it as
	// err.
	Propose(ctx context.Context, command *trellisv1.Command) (answer any, err error)
	// Verify returns an error unless this node still leads, and its store has all that was acknowledged before the call.
	Verify(ctx context.Context) error
}

// DataSets provides the data sets that the coordinator serves to workers.
type DataSets interface {
	// Find returns the verified data set with the name. If there is none, the error lists the known data sets.
	Find(ctx context.Context, name string) (*trellisv1.DataSet, error)
	// FindDigest returns the verified data set with the digest, whatever its name. If there is none, it says what is
	// missing: there is no data set of that name, or it has another digest. It does not wait for downloads.
	FindDigest(ctx context.Context, digest, name string) (*trellisv1.DataSet, *trellisv1.WaitingFor)
	// Open returns the uncompressed content of a file, given the digests of its data set and of the file. Find or
	// FindDigest must have returned the data set before. If the file can't be read, or is not what it was, FindDigest
	// reads the data set anew.
	Open(ctx context.Context, digest, sha256 string) (io.ReadCloser, error)
}

// Memory is what the leader knows beyond the store. Other nodes know nothing of it.
type Memory interface {
	// WaitingFor says what a study's runs wait for. It returns nil if nothing is missing.
	WaitingFor(study string) *trellisv1.WaitingFor
	// Changed is closed at the next change of what WaitingFor returns.
	Changed() <-chan struct{}
	// Missing notes that a data set, or weights, can't be served.
	Missing(digest string, why *trellisv1.WaitingFor) error
	// Avoided says why a worker gets no runs for now, or none of some studies.
	Avoided(worker string) []*trellisv1.Avoidance
}

// Turn waits until a request may do what is costly, and returns what ends its turn. Nil: it need not wait.
type Turn func(ctx context.Context) (release func(), err error)

func (t Turn) take(ctx context.Context) (release func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	return t(ctx)
}

// Turns are those that requests take for a part of their work. Other requests have theirs before they get here.
type Turns struct {
	// Watch is for a watch that looks for what has changed, Read for a request that may read all runs, Plan for one that
	// makes all runs of a study, and Spec for one that reads or writes a large spec.
	Watch, Read, Plan, Spec Turn
}

// Config has what the services need.
type Config struct {
	// Numerics is the version of the trainer's arithmetic that workers must have.
	Numerics string
	// Models are the models that workers can train.
	Models grid.Models
	// Sizer says how large the models' networks are. Nil: nobody checks whether there are any, and plans don't say.
	Sizer grid.Sizer
	// Address is the host:port at which others reach this node. Version is the binary's version.
	Address, Version string
	// Link is where people find what is served over HTTP: https://host:8080. It is empty if nothing is.
	Link string
	// Join has the addresses of the nodes whose cluster this node is to join or to form.
	Join []string
	// Data is the data directory. It is empty if the log is in memory.
	Data string
	// MinFreeDisk is how many bytes of the data directory's file system must be free for a new study. 0: a tenth of it, at
	// most 16 GiB.
	MinFreeDisk uint64
	// NoPrograms says that studies of programs are refused.
	NoPrograms bool
	// Specs reads and writes specs as text. Nil: such calls are refused.
	Specs  Specs
	Limits Limits

	Store     Snapshots
	Log       Log
	DataSets  DataSets
	Artifacts *artifact.Keeper
	Forecasts *forecast.Maker
	Sessions  Sessions
	Outputs   Outputs
	Memory    Memory
	Node      Node
	// Hooks posts the test events of web hooks.
	Hooks HookSender
	// Spans trace the creation of studies.
	Spans *spans.Spans
	// Turns bound what is costly.
	Turns Turns
	// Stopping is done when the node stops. Streams that would last forever then end, with its cause as their error.
	Stopping context.Context
	Logger   *slog.Logger
}

// Register registers all services.
func Register(server grpc.ServiceRegistrar, c Config) {
	studies := studyService{
		numerics: c.Numerics, models: c.Models, sizer: c.Sizer, store: c.Store, log: c.Log, dataSets: c.DataSets,
		artifacts: c.Artifacts,
		forecasts: c.Forecasts, disk: disk{folder: c.Data, minFree: c.MinFreeDisk}, limits: c.Limits, noPrograms: c.NoPrograms, specs: c.Specs, creating: make(chan struct{}, 1), turns: c.Turns,
		memory: c.Memory, spans: c.Spans, stopping: c.Stopping, logger: c.Logger,
	}
	trellisv1.RegisterStudyServiceServer(server, studies)
	trellisv1.RegisterTrialServiceServer(server, trialService{
		numerics: c.Numerics, models: c.Models, sizer: c.Sizer, store: c.Store, forecasts: c.Forecasts,
		artifacts: c.Artifacts, outputs: c.Outputs, stopping: c.Stopping,
	})
	trellisv1.RegisterChartServiceServer(server, chartService{store: c.Store})
	trellisv1.RegisterDataSetServiceServer(server, dataSetService{
		store: c.Store, dataSets: c.DataSets, memory: c.Memory,
	})
	trellisv1.RegisterWorkerServiceServer(server, workerService{
		numerics: c.Numerics, store: c.Store, sessions: c.Sessions, memory: c.Memory, stopping: c.Stopping,
	})
	trellisv1.RegisterClusterServiceServer(server, clusterService{
		address: c.Address, version: c.Version, link: c.Link, join: c.Join,
		disk: disk{folder: c.Data, minFree: c.MinFreeDisk}, node: c.Node, log: c.Log, logger: c.Logger,
	})
	trellisv1.RegisterAccessServiceServer(server, accessService{
		store: c.Store, log: c.Log, limit: c.Limits.Tokens, stopping: c.Stopping,
	})
	trellisv1.RegisterHookServiceServer(server, hookService{store: c.Store, log: c.Log, sender: c.Hooks})
	trellisv1.RegisterArtifactServiceServer(server, artifactService{
		artifacts: c.Artifacts, memory: c.Memory, stopping: c.Stopping,
	})
	trellisv1.RegisterPaperServiceServer(server, paperService{
		store: c.Store, log: c.Log, artifacts: c.Artifacts, studies: studies, started: time.Now(),
	})
}
