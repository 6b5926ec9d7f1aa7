package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trellis/coordinator/api"
	"trellis/coordinator/artifact"
	"trellis/coordinator/lead"
	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// Defaults and limits of a coordinator.
const (
	// DefaultLease is how long a worker may be silent before its runs go to others.
	DefaultLease = 15 * time.Second
	// DefaultHangTimeout is how long a run may stand still, at least, before its attempt is ended.
	DefaultHangTimeout = 5 * time.Minute
	// DefaultCheckpointInterval is how often, at least, workers save their runs' checkpoints.
	DefaultCheckpointInterval = 30 * time.Second
	// DefaultMinFreeDisk is the share of the disk that must be free for a new study.
	DefaultMinFreeDisk = 0.1
	// maxCheckpointInterval keeps the interval in milliseconds well within 32 bits.
	maxCheckpointInterval = 24 * time.Hour
	// artifactsFolder is where artifacts are by default, in the data directory.
	artifactsFolder = "artifacts"
)

// Config says how a coordinator works.
type Config struct {
	// Numerics is the version of the trainer's arithmetic that workers must have. Required.
	Numerics string
	// Models are what workers can train. Specs of other models are refused. Required.
	Models []*trellisv1.Model
	// Lease is how long a worker may be silent before its runs go to others. Default: DefaultLease.
	Lease time.Duration
	// HangTimeout is how long a run may stand still before its attempt is ended. A run whose steps are slow is given
	// ten times its mean step. Default: DefaultHangTimeout.
	HangTimeout time.Duration
	// Logger receives what operators want to know. Default: nothing.
	Logger *slog.Logger
	// Registerer receives the coordinator's metrics. Default: none.
	Registerer prometheus.Registerer
	// Version is the binary's, for other nodes and their operators.
	Version string

	// Data is the data directory, with the log, its snapshots and, by default, the artifacts. Empty: the log is in
	// memory, there are no artifacts, and runs have no checkpoints.
	Data string
	// Join has the addresses of nodes of a cluster. If the data directory is empty, the coordinator asks them to be
	// added to it. Default: it becomes a cluster of one.
	Join []string
	// Wait says that a coordinator whose data directory is empty waits to be added to a cluster by somebody else.
	Wait bool
	// Advertise is the host:port under which other nodes, workers and clients reach the coordinator. Default: the
	// listener's address.
	Advertise string
	// Artifacts is the folder or URL where artifacts are kept. Default: the folder artifacts of the data directory.
	Artifacts string
	// CheckpointInterval is how often, at least, workers save their runs' checkpoints. Default:
	// DefaultCheckpointInterval.
	CheckpointInterval time.Duration
	// MinFreeDisk is the share of the data directory's file system that must be free for a new study. Default:
	// DefaultMinFreeDisk.
	MinFreeDisk float64

	hooks hooks
}

// hooks are what simulations put in the place of a network, a disk and a log. The zero value puts nothing.
type hooks struct {
	// dial connects to other nodes.
	dial dialer
	// log wraps the log.
	log func(Log) Log
	// machine wraps what the replicated log's commands are applied to.
	machine func(replication.StateMachine) replication.StateMachine
	// replicate changes how the log is kept, for example in a memory instead of a directory.
	replicate func(*replication.Config)
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Numerics == "" {
		return errors.New("coordinator: the version of the trainer's arithmetic is missing")
	}
	if len(c.Models) == 0 {
		return errors.New("coordinator: the models that workers can train are missing")
	}
	if err := grid.Models(c.Models).Check(); err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	if c.Lease < 0 || c.Lease > 0 && c.Lease < 100*time.Millisecond {
		return fmt.Errorf("coordinator: a lease of %v is too short: give 100ms or more", c.Lease)
	}
	if c.HangTimeout < 0 {
		return fmt.Errorf("coordinator: a hang timeout of %v is negative", c.HangTimeout)
	}
	if c.CheckpointInterval < 0 || c.CheckpointInterval > 0 && c.CheckpointInterval < 10*time.Millisecond {
		return fmt.Errorf("coordinator: a checkpoint interval of %v is too short: give 10ms or more",
			c.CheckpointInterval)
	}
	if c.CheckpointInterval > maxCheckpointInterval {
		return fmt.Errorf("coordinator: a checkpoint interval of %v is too long: give %v or less", c.CheckpointInterval,
			maxCheckpointInterval)
	}
	if c.Data == "" && (len(c.Join) > 0 || c.Wait || c.Artifacts != "") {
		return errors.New("coordinator: a log in memory has no other nodes and no artifacts: give a data directory")
	}
	if len(c.Join) > 0 && c.Wait {
		return errors.New("coordinator: it can ask a cluster to be added, or wait to be added, but not both")
	}
	if c.MinFreeDisk < 0 || c.MinFreeDisk >= 1 {
		return fmt.Errorf("coordinator: a share of %v of the disk can't be kept free: give 0 or more, and less than 1",
			c.MinFreeDisk)
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
	if c.MinFreeDisk == 0 {
		c.MinFreeDisk = DefaultMinFreeDisk
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Advertise == "" {
		c.Advertise = listener.Addr().String()
	}
	if c.hooks.dial == nil {
		c.hooks.dial = dialTCP
	}
	return c
}

// DataSets is where the coordinator finds the data sets that it serves to workers.
type DataSets = api.DataSets

// Coordinator is one node: a log, the store that it feeds, and, while it leads, the loops that act on the store.
type Coordinator struct {
	config   Config
	logger   *slog.Logger
	dataSets DataSets
	metrics  *metrics
	// address is how others reach this node.
	address string
	port    *port
	peers   *peers
	store   *results.Store
	machine stateMachine

	// log is set when opened is closed. replicated is the same log, nil if it is in memory.
	log        Log
	replicated *replication.Log
	opened     chan struct{}
	commands   *commands
	// view is what this node knows of its cluster. It is never nil.
	view atomic.Pointer[view]
	// leader leads in this node's terms.
	leader *lead.Leader
	// changes tells of changes to opened, view and leader.
	changes *broadcast
	// pauses has what is to be done while the leader's loops stand still.
	pauses chan pause

	artifacts *artifact.Keeper

	// stopping is done when the coordinator stops serving: streams that would go on forever end then, with its cause.
	stopping context.Context
	stop     context.CancelCauseFunc
	// failed is closed when the log has failed.
	failed chan struct{}
}

// New returns a coordinator that will serve on the listener, which it closes. It does nothing before Serve.
func New(config Config, listener net.Listener, dataSets DataSets) (*Coordinator, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults(listener)
	store, err := results.New()
	if err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	c := &Coordinator{
		config:   config,
		logger:   config.Logger,
		dataSets: dataSets,
		address:  config.Advertise,
		port:     newPort(listener, config.hooks.dial, config.Logger),
		peers:    newPeers(config.hooks.dial),
		store:    store,
		machine:  stateMachine{store: store, applied: newAppliedIndex()},
		opened:   make(chan struct{}),
		changes:  newBroadcast(),
		pauses:   make(chan pause),
		failed:   make(chan struct{}),

		artifacts: artifact.NewKeeper(),
	}
	c.stopping, c.stop = context.WithCancelCause(context.Background())
	c.view.Store(&view{ctx: context.Background()})
	c.metrics = newMetrics(config.Registerer, store)
	c.commands = &commands{}
	leading := lead.Config{
		Numerics: config.Numerics, Lease: config.Lease, HangTimeout: config.HangTimeout, Store: store, Log: c.commands,
		Artifacts: c.artifacts, Stopping: c.stopping, Logger: config.Logger, Registerer: config.Registerer,
	}
	if config.Data != "" {
		leading.CheckpointInterval = config.CheckpointInterval
	}
	c.leader = lead.New(leading)
	c.commands.notify = c.leader.Notify
	return c, nil
}

// open opens the log and what else is in the data directory. From then on calls are answered.
func (c *Coordinator) open() error {
	// The log comes first, because it locks the directory.
	if err := c.openLog(); err != nil {
		return err
	}
	if err := c.openArtifacts(context.Background()); err != nil {
		return errors.Join(err, c.log.Close())
	}
	close(c.opened)
	c.changes.send()
	return nil
}

// openLog opens the log. With a data directory it is the replicated one, else it is in memory.
func (c *Coordinator) openLog() error {
	if c.config.Data == "" {
		c.log = NewMemoryLog(c.machine, c.address)
	} else {
		config := replication.Config{
			Dir:       c.config.Data,
			Address:   c.address,
			Network:   network{c.port.nodes, c.config.hooks.dial},
			Bootstrap: len(c.config.Join) == 0 && !c.config.Wait,
			Logger:    c.logger,
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

// openArtifacts opens the store in which the configuration says that artifacts are.
func (c *Coordinator) openArtifacts(ctx context.Context) error {
	if c.config.Data == "" {
		return nil
	}
	location := c.config.Artifacts
	if location == "" {
		location = filepath.Join(c.config.Data, artifactsFolder)
	}
	store, err := artifact.Open(ctx, location)
	if err != nil {
		return err
	}
	c.artifacts.Use(store, self{c})
	return nil
}
