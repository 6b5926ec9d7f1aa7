package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	"trellis/coordinator/artifact"
	"trellis/coordinator/connection"
	"trellis/coordinator/lead"
	"trellis/coordinator/quota"
	"trellis/coordinator/replication"
	"trellis/coordinator/spans"
	"trellis/coordinator/web"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/tracing"
)

// Defaults and limits of a coordinator.
const (
	// DefaultLease is how long a worker may be silent before its runs go to others.
	DefaultLease = 15 * time.Second
	// MinLease is the shortest lease.
	MinLease = 100 * time.Millisecond
	// DefaultHangTimeout is the minimum time that a run may make no progress before its attempt is ended.
	DefaultHangTimeout = 5 * time.Minute
	// DefaultCheckpointInterval is the longest time between two checkpoints that workers save of a run.
	DefaultCheckpointInterval = 30 * time.Second
	// MinCheckpointInterval is the shortest interval.
	MinCheckpointInterval = 10 * time.Millisecond
	// maxCheckpointInterval keeps the interval in milliseconds well within 32 bits.
	maxCheckpointInterval = 24 * time.Hour
	// artifactsFolder is the default folder for artifacts, within the data directory.
	artifactsFolder = "artifacts"
)

// Config configures a coordinator.
type Config struct {
	// Numerics is the version of the trainer's arithmetic that workers must have. Required.
	Numerics string
	// Models are the models that workers can train. Specs with other models are refused. Required.
	Models []*trellisv1.Model
	// Sizer says how large their networks are. Nil: nobody checks whether there are any, and plans don't say.
	Sizer grid.Sizer
	// Specs reads and writes specs as people write them. Default: specs are messages only.
	Specs Specs
	// Lease is how long a worker may be silent before its runs go to others. Default: DefaultLease.
	Lease time.Duration
	// HangTimeout is how long a run may make no progress before its attempt is ended. A run with slow steps gets ten
	// times its mean step. Default: DefaultHangTimeout.
	HangTimeout time.Duration
	// Logger logs what operators want to know. Default: nothing is logged.
	Logger *slog.Logger
	// Registerer receives the coordinator's metrics. Default: none.
	Registerer prometheus.Registerer
	// Tracer traces calls and runs. Default: nothing is traced.
	Tracer *tracing.Tracer
	// Version is the binary's version, shown to other nodes and their operators.
	Version string

	// Data is the data directory. It has the log, its snapshots and, by default, the artifacts. If it is empty, the log
	// is in memory and, unless Artifacts is set, there are no artifacts and no checkpoints.
	Data string
	// Join has the addresses of a cluster's nodes. If the data directory is empty, the coordinator asks these nodes to
	// add it to their cluster. If its own address is the lowest of them, it forms the cluster once all others answer that they
	// are in none: so all nodes of a new cluster can be started with the same list. Default: it becomes a cluster of one.
	Join []string
	// Wait makes a coordinator with an empty data directory wait until someone adds it to a cluster.
	Wait bool
	// Advertise is the host:port at which other nodes, workers and clients reach the coordinator. Default: the
	// listener's address.
	Advertise string
	// Artifacts is the folder or URL where artifacts are stored. Default: the folder "artifacts" in the data directory or,
	// if the log is in memory, none.
	Artifacts string
	// NoPrograms says that studies of programs are refused. It must be set if others than this machine reach the
	// listener and nobody is authenticated.
	NoPrograms bool
	// CheckpointInterval is the longest time between two checkpoints that workers save of a run. Default:
	// DefaultCheckpointInterval.
	CheckpointInterval time.Duration
	// MinFreeDisk is how many bytes of the data directory's file system must be free for a new study. Default: a tenth of
	// it, at most 16 GiB.
	MinFreeDisk uint64
	// Limits bound what peers can make the coordinator hold. Default: see Limits.
	Limits Limits
	// HTTP is a listener on which the API is served as JSON over HTTP, with the web page, and which Serve closes. Default:
	// none.
	HTTP net.Listener
	// Link is where people find what HTTP serves: https://host:8080. Default: nobody is told.
	Link string
	// Page has the files of the web page, whose entry is index.html. Default: there is none.
	Page fs.FS
	// TLS are the files with which connections are encrypted and others' certificates checked. With TLS, each call needs
	// a token or a client certificate, and a role that may call its method. Default: no encryption, and everybody may do
	// everything.
	TLS access.Files

	hooks hooks
}

// hooks replace the network, the disk and the log in simulations. The zero value replaces nothing.
type hooks struct {
	// dial connects to other nodes.
	dial dialer
	// log wraps the log.
	log func(Log) Log
	// authenticate asks who calls, as with TLS.
	authenticate bool
	// machine wraps the state machine of the replicated log.
	machine func(replication.StateMachine) replication.StateMachine
	// replicate changes the log's configuration, for example to keep it in memory instead of a directory.
	replicate func(*replication.Config)
}

// Validate returns an error that says what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	if c.Numerics == "" {
		return errors.New("coordinator: missing the version of the trainer's arithmetic")
	}
	if len(c.Models) == 0 {
		return errors.New("coordinator: missing the models that workers can train")
	}
	if err := grid.Models(c.Models).Check(); err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	if c.Lease < 0 || c.Lease > 0 && c.Lease < MinLease {
		return fmt.Errorf("coordinator: invalid lease %v: must be at least %v", c.Lease, MinLease)
	}
	if c.HangTimeout < 0 {
		return fmt.Errorf("coordinator: invalid hang timeout %v: must not be negative", c.HangTimeout)
	}
	if c.CheckpointInterval < 0 || c.CheckpointInterval > 0 && c.CheckpointInterval < MinCheckpointInterval {
		return fmt.Errorf("coordinator: invalid checkpoint interval %v: must be at least %v",
			c.CheckpointInterval, MinCheckpointInterval)
	}
	if c.CheckpointInterval > maxCheckpointInterval {
		return fmt.Errorf("coordinator: invalid checkpoint interval %v: must be at most %v", c.CheckpointInterval,
			maxCheckpointInterval)
	}
	if c.Data == "" && (len(c.Join) > 0 || c.Wait) {
		return errors.New("coordinator: a log in memory can have no other nodes: use a data directory")
	}
	if len(c.Join) > 0 && c.Wait {
		return errors.New("coordinator: it can either join a cluster or wait to be added, not both")
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	if err := c.Limits.Validate(); err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	return nil
}

// withDefaults fills in what is left out.
func (c Config) withDefaults(listener net.Listener) Config {
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.HangTimeout == 0 {
		c.HangTimeout = DefaultHangTimeout
	}
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = DefaultCheckpointInterval
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Advertise == "" {
		c.Advertise = listener.Addr().String()
	}
	c.Limits = c.Limits.withDefaults()
	if c.hooks.dial == nil {
		c.hooks.dial = dialTCP
	}
	return c
}

// DataSets provides the data sets that the coordinator serves to workers.
type DataSets = api.DataSets

// Specs reads and writes specs as people write them.
type Specs = api.Specs

// Coordinator is one node. It has a log, the store that the log's commands change, and, while it leads, the loops that
// act on the store.
type Coordinator struct {
	config   Config
	logger   *slog.Logger
	dataSets DataSets
	metrics  *metrics
	// address is the host:port at which others reach this node.
	address string
	port    *port
	// web serves HTTP on the connections of its own port. Both are nil without.
	web     *web.Server
	webPort *port
	peers   *peers
	store   *results.Store
	machine stateMachine

	// certificates are nil without encryption.
	certificates *access.Certificates

	// log is set before logOpened is closed, and everything else in the data directory before opened is. replicated is
	// the same log, or nil if it is in memory.
	log        Log
	replicated *replication.Log
	logOpened  chan struct{}
	opened     chan struct{}
	commands   *commands
	// view is what this node knows of its cluster. It is never nil.
	view atomic.Pointer[view]
	// leader runs the leader's loops while this node leads.
	leader *lead.Leader
	// spans trace studies and runs. They are nil if nothing is traced.
	spans *spans.Spans
	// authenticates says that each call needs a credential.
	authenticates bool
	// tokens ends the streams of tokens that have ended. denials logs who was refused.
	tokens  *tokensInUse
	denials *denials
	// calls bounds what callers can make this node do.
	calls *callLimits
	// asks bounds the questions to the leader about tokens that this node does not know.
	asks *quota.Turns
	// changes announces changes to opened, view and leader.
	changes *broadcast
	// pauses has the work to do while the leader's loops are paused.
	pauses chan pause

	artifacts *artifact.Keeper
	// unread bounds what clients don't read.
	unread *connection.Unread

	// stopping is done when the coordinator stops serving. Streams that would last forever then end, with its cause.
	stopping context.Context
	stop     context.CancelCauseFunc
	// failed is closed when the log has failed.
	failed chan struct{}
}

// New returns a coordinator that will serve on the listener, and close it. It does nothing until Serve is called.
func New(config Config, listener net.Listener, dataSets DataSets) (*Coordinator, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults(listener)
	unread := connection.NewUnread(config.Limits.unread(), isForwarded, config.Logger)
	bounds := config.Limits.connections().Within(connection.MaxDescriptors())
	bounded := connection.Listen(listener, bounds, unread, config.Logger)
	store, err := results.New()
	if err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	c := &Coordinator{
		config:    config,
		logger:    config.Logger,
		dataSets:  dataSets,
		address:   config.Advertise,
		store:     store,
		machine:   stateMachine{store: store, applied: newAppliedIndex()},
		logOpened: make(chan struct{}),
		opened:    make(chan struct{}),
		changes:   newBroadcast(),
		pauses:    make(chan pause),
		failed:    make(chan struct{}),
		unread:    unread,

		artifacts: artifact.NewKeeper(config.Logger),
	}
	dial := config.hooks.dial
	if config.TLS.Given() {
		if c.certificates, err = openCertificates(config); err != nil {
			return nil, err
		}
		dial = dialSecurely(dial, c.certificates)
	}
	c.peers, c.port = newPeers(dial, config.Tracer.DialOptions()), newPort(bounded, dial, config.Logger)
	c.port.admit = c.admitNode
	if config.TLS.Given() || config.hooks.authenticate {
		c.port.strangerTime = handshakeTimeout
	}
	c.port.certificates = c.certificates
	if config.HTTP != nil {
		if err := c.makeWeb(bounded.Another(config.HTTP)); err != nil {
			return nil, err
		}
	}
	c.stopping, c.stop = context.WithCancelCause(context.Background())
	c.view.Store(&view{ctx: context.Background()})
	c.metrics = newMetrics(config.Registerer, store, c)
	c.commands = &commands{}
	c.spans = spans.New(config.Tracer, store)
	leading := lead.Config{
		Numerics: config.Numerics, Lease: config.Lease, HangTimeout: config.HangTimeout, Store: store, Log: c.commands,
		Queue: config.Limits.queue(), Artifacts: c.artifacts, DataSets: dataSets, Stopping: c.stopping, Version: config.Version,
		Logger: config.Logger, Registerer: config.Registerer, Spans: c.spans,
	}
	if config.Data != "" || config.Artifacts != "" {
		leading.CheckpointInterval = config.CheckpointInterval
	}
	c.leader = lead.New(leading)
	c.authenticates = config.TLS.Given() || config.hooks.authenticate
	c.tokens, c.denials = newTokensInUse(store, c.leader.Leads), &denials{logger: config.Logger}
	c.calls, c.asks = newCallLimits(config.Limits, c.identifyEarly), newAsks()
	c.commands.notify = c.leader.Notify
	return c, nil
}

// open opens the log and everything else in the data directory. From then on, calls are served.
func (c *Coordinator) open() error {
	// The log comes first, because it locks the directory.
	if err := c.openLog(); err != nil {
		return err
	}
	close(c.logOpened)
	if err := c.openArtifacts(context.Background()); err != nil {
		return errors.Join(err, c.log.Close())
	}
	close(c.opened)
	c.changes.send()
	return nil
}

// openLog opens the log: a replicated log if there is a data directory, otherwise one in memory.
func (c *Coordinator) openLog() error {
	if c.config.Data == "" {
		c.log = NewMemoryLog(c.machine, c.address)
	} else {
		config := replication.Config{
			Dir:     c.config.Data,
			Address: c.address,
			Network: network{c.port.nodes, c.port.dial},

			CheckCommand: c.machine.CheckCommand,
			Bootstrap:    len(c.config.Join) == 0 && !c.config.Wait,
			Logger:       c.logger,
		}
		if c.config.hooks.replicate != nil {
			c.config.hooks.replicate(&config)
		}
		var machine replication.StateMachine = c.machine
		if c.config.hooks.machine != nil {
			machine = c.config.hooks.machine(machine)
		}
		log, err := replication.Open(config, machine)
		if err != nil {
			return fmt.Errorf("open the log in %s: %w", c.config.Data, err)
		}
		c.log, c.replicated = log, log
	}
	if c.config.hooks.log != nil {
		c.log = c.config.hooks.log(c.log)
	}
	c.commands.log = c.log
	return nil
}

// openArtifacts opens the artifact store that the configuration names.
func (c *Coordinator) openArtifacts(ctx context.Context) error {
	location := c.config.Artifacts
	switch {
	case location == "" && c.config.Data == "":
		return nil
	case location == "":
		location = filepath.Join(c.config.Data, artifactsFolder)
	}
	store, err := artifact.Open(ctx, location)
	if err != nil {
		return err
	}
	c.artifacts.Use(store, self{c})
	return nil
}
