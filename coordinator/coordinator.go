package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// Defaults and limits of a coordinator.
const (
	// DefaultLease is how long a worker may be silent before its runs go to others.
	DefaultLease = 15 * time.Second
	// DefaultHangTimeout is how long a run may stand still, at least, before its attempt is ended.
	DefaultHangTimeout = 5 * time.Minute
	// MaxStudies is how many studies a coordinator keeps.
	MaxStudies = 1000
	// heartbeatsPerLease says how many heartbeats a worker may miss.
	heartbeatsPerLease = 5
	// shutdownGrace is how long calls under way may take to end when the coordinator stops.
	shutdownGrace = 2 * time.Second
)

// Config says how a coordinator works.
type Config struct {
	// Numerics is the version of the trainer's arithmetic that workers must have. Required.
	Numerics string
	// Lease is how long a worker may be silent before its runs go to others. Default: DefaultLease.
	Lease time.Duration
	// HangTimeout is how long a run may stand still before its attempt is ended. A run whose steps are slow is given ten
	// times its mean step. Default: DefaultHangTimeout.
	HangTimeout time.Duration
	// Logger receives what operators want to know. Default: nothing.
	Logger *slog.Logger
	// Registerer receives the coordinator's metrics. Default: none.
	Registerer prometheus.Registerer
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Numerics == "" {
		return errors.New("coordinator: the version of the trainer's arithmetic is missing")
	}
	if c.Lease < 0 || c.Lease > 0 && c.Lease < 100*time.Millisecond {
		return fmt.Errorf("coordinator: a lease of %v is too short: give 100ms or more", c.Lease)
	}
	if c.HangTimeout < 0 {
		return fmt.Errorf("coordinator: a hang timeout of %v is negative", c.HangTimeout)
	}
	return nil
}

// DataSets is where the coordinator finds the data sets that it serves to workers.
type DataSets interface {
	// Find returns the verified data set of that name. The error of an unknown one says which there are.
	Find(ctx context.Context, name string) (*trellisv1.DataSet, error)
	// Open returns the uncompressed content of a file of a data set that Find has returned.
	Open(ctx context.Context, digest, sha256 string) (io.ReadCloser, error)
}

// Coordinator is one replica: a log, the store that it feeds, and, while it leads, the loops that act on the store.
type Coordinator struct {
	config   Config
	logger   *slog.Logger
	dataSets DataSets
	metrics  *metrics
	store    *results.Store
	log      Log

	sessions *sessions
	recorder *recorder
	leases   *leases

	// creating is held while a study is admitted, so that the limits on studies hold.
	creating sync.Mutex
	// stopping is closed when the coordinator stops serving: streams that would go on for ever end then.
	stopping chan struct{}
}

// New returns a coordinator without studies. It does nothing before Serve.
func New(config Config, dataSets DataSets) (*Coordinator, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Lease == 0 {
		config.Lease = DefaultLease
	}
	if config.HangTimeout == 0 {
		config.HangTimeout = DefaultHangTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	store, err := results.New()
	if err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	c := &Coordinator{
		config:   config,
		logger:   config.Logger,
		dataSets: dataSets,
		store:    store,
		log:      NewMemoryLog(stateMachine{store}),
		stopping: make(chan struct{}),
	}
	c.metrics = newMetrics(config.Registerer, store)
	c.sessions = newSessions()
	c.recorder = newRecorder(c)
	c.leases = newLeases(c)
	return c, nil
}

// Serve answers API calls and workers on the listener until ctx is done; then it ends what is under way and returns nil.
// A coordinator serves once.
func (c *Coordinator) Serve(ctx context.Context, listener net.Listener) error {
	server, err := c.newServer()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); err != nil {
			return fmt.Errorf("serve on %v: %w", listener.Addr(), err)
		}
		return nil
	})
	group.Go(func() error { return c.leadWhileLeader(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		close(c.stopping)
		stopServer(server)
		return c.log.Close()
	})
	return group.Wait()
}

// stopServer lets calls under way end, but not for ever.
func stopServer(server *grpc.Server) {
	timer := time.AfterFunc(shutdownGrace, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

// leadWhileLeader runs the leader's loops whenever this replica leads.
func (c *Coordinator) leadWhileLeader(ctx context.Context) error {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case leads := <-c.log.Leadership():
			stop()
			stop = func() {}
			if leads {
				stop = c.lead(ctx)
			}
		}
	}
}

// lead starts the leader's loops and returns how to stop them.
func (c *Coordinator) lead(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(func() { c.recorder.run(ctx) })
	loops.Go(func() { c.leases.run(ctx) })
	loops.Go(func() { c.dispatch(ctx) })
	return func() {
		cancel()
		loops.Wait()
	}
}
