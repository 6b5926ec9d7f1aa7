package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/dial"
)

const (
	// DefaultWait is how long a command waits for a coordinator that is not there.
	DefaultWait = 30 * time.Second
	// callTimeout bounds a call of the API.
	callTimeout = 20 * time.Second
	// createTimeout bounds the creation of a study, for which the coordinator may have to download a data set.
	createTimeout = 10 * time.Minute
	// maxResponse bounds a response, in bytes: a page of trials with all their losses.
	maxResponse = 64 << 20
)

// reconnect is how a client comes back to a coordinator.
var reconnect = backoff.Config{
	BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
}

// retryPolicy sends calls that change nothing, or the same when they are repeated, again when the coordinator goes away
// before it has answered: to another node, if there are several.
const retryPolicy = `{"methodConfig": [{
	"name": [
		{"service": "trellis.v1.TrialService"},
		{"service": "trellis.v1.WorkerService", "method": "ListWorkers"},
		{"service": "trellis.v1.StudyService", "method": "GetStudy"},
		{"service": "trellis.v1.StudyService", "method": "ListStudies"},
		{"service": "trellis.v1.StudyService", "method": "PauseStudy"},
		{"service": "trellis.v1.StudyService", "method": "ResumeStudy"},
		{"service": "trellis.v1.StudyService", "method": "PlanStudy"},
		{"service": "trellis.v1.ArtifactService", "method": "DownloadArtifact"},
		{"service": "trellis.v1.ClusterService", "method": "GetCluster"},
		{"service": "trellis.v1.ClusterService", "method": "AddNode"},
		{"service": "trellis.v1.ClusterService", "method": "Backup"}
	],
	"retryPolicy": {
		"maxAttempts": 5,
		"initialBackoff": "0.2s",
		"maxBackoff": "2s",
		"backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

// client is a connection to a coordinator, or to one of the nodes of a cluster of them.
type client struct {
	trellisv1.StudyServiceClient
	trellisv1.TrialServiceClient
	trellisv1.ArtifactServiceClient
	trellisv1.ClusterServiceClient
	workers trellisv1.WorkerServiceClient

	// address is the coordinator's, or those of several nodes with commas between them.
	address string
	// nodes is how many addresses these are.
	nodes int
	// notices is where the client says that it waits.
	notices io.Writer
	conn    *grpc.ClientConn

	mu sync.Mutex
	// failed has the addresses that could not be connected to since the last one that could, and why.
	failed map[string]error
	// connected says that the last attempt to connect succeeded.
	connected bool
	// waiting says that a notice of this outage has been written.
	waiting bool
}

// clientOptions are the flags of the commands that talk to a coordinator.
type clientOptions struct {
	address string
	// wait is how long to wait for a coordinator that is not there. 0 waits for ever.
	wait time.Duration
}

func clientFlags(cmd *cobra.Command, wait time.Duration) *clientOptions {
	options := new(clientOptions)
	addressFlag(cmd, &options.address)
	text := "how long to wait for a coordinator that is not there; 0 waits for ever"
	cmd.Flags().DurationVar(&options.wait, "wait", wait, text)
	return options
}

// addressFlag adds --coordinator.
func addressFlag(cmd *cobra.Command, address *string) {
	standard := DefaultAddress
	if set := os.Getenv(addressVariable); set != "" {
		standard = set
	}
	cmd.Flags().StringVar(address, "coordinator", standard,
		"the coordinator's `address`, or those of several nodes with commas between them; or set "+addressVariable)
}

// newClient returns a client of the coordinator at an address, or of the first of several nodes that can be reached. It
// connects when it is first needed.
func newClient(address string, notices io.Writer) (*client, error) {
	nodes, err := dial.Nodes(address)
	if err != nil {
		return nil, usageErrorf("--coordinator: %w", err)
	}
	c := &client{address: address, nodes: len(nodes), notices: notices, failed: make(map[string]error)}
	conn, err := dial.NewClient(address, dial.First,
		grpc.WithContextDialer(c.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           reconnect,
			MinConnectTimeout: reconnect.MaxDelay,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultServiceConfig(retryPolicy),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxResponse)),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to %s: %w", address, err)
	}
	c.conn = conn
	c.StudyServiceClient = trellisv1.NewStudyServiceClient(conn)
	c.TrialServiceClient = trellisv1.NewTrialServiceClient(conn)
	c.ArtifactServiceClient = trellisv1.NewArtifactServiceClient(conn)
	c.ClusterServiceClient = trellisv1.NewClusterServiceClient(conn)
	c.workers = trellisv1.NewWorkerServiceClient(conn)
	return c, nil
}

// dial connects to a node, and says once per outage that there is none and that it keeps trying.
func (c *client) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := dial.Connect(ctx, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.connected, c.waiting = true, false
		clear(c.failed)
		return conn, nil
	case errors.Is(err, context.Canceled):
		// Another node was faster, or nobody waits any more.
		return nil, err
	}
	c.connected = false
	c.failed[address] = err
	if !c.waiting && len(c.failed) == c.nodes {
		c.waiting = true
		fmt.Fprintf(c.notices, "trellis: no coordinator at %s (%s); trying again. Give its address with --coordinator, or "+
			"start one: trellis coordinator\n", c.address, dialProblem(err))
	}
	return nil, err
}

// dialProblem is what went wrong, without how Go's network library words it around.
func dialProblem(err error) string {
	var number syscall.Errno
	var lookup *net.DNSError
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &lookup):
		return lookup.Err + ": " + lookup.Name
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	default:
		return err.Error()
	}
}

// connect waits until the coordinator is there, for at most wait; 0 waits for ever. The error is errUnavailable.
func (c *client) connect(ctx context.Context, wait time.Duration) error {
	return c.reach(ctx, wait, false)
}

// reach connects within wait, or for ever if wait is 0. If once, it gives up as soon as no address can be connected to.
// The error is errUnavailable.
func (c *client) reach(ctx context.Context, wait time.Duration, once bool) error {
	waiting := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	for {
		state := c.conn.GetState()
		switch {
		case state == connectivity.Ready:
			return nil
		case once && state == connectivity.TransientFailure:
			return c.unavailable("")
		}
		c.conn.Connect()
		if c.conn.WaitForStateChange(waiting, state) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.unavailable(fmt.Sprintf(" within %v", wait))
	}
}

// unavailable is errUnavailable with the reason. within says how long it was tried, or nothing.
func (c *client) unavailable(within string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connected {
		return fmt.Errorf("%w: what listens at %s does not answer as a coordinator does", errUnavailable, c.address)
	}
	var problems []string
	for _, address := range slices.Sorted(maps.Keys(c.failed)) {
		problem := dialProblem(c.failed[address])
		if c.nodes > 1 {
			problem = address + ": " + problem
		}
		problems = append(problems, problem)
	}
	if problems == nil {
		problems = []string{dialProblem(context.DeadlineExceeded)}
	}
	return fmt.Errorf("%w at %s%s: %s", errUnavailable, c.address, within, strings.Join(problems, ", "))
}

func (c *client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close the connection to %s: %w", c.address, err)
	}
	return nil
}

// withClient runs what a command does with a coordinator, interruptible by signals.
func (cli *commandLine) withClient(
	parent context.Context, options *clientOptions, do func(context.Context, *client) error,
) (err error) {
	ctx, stop := interruptible(parent)
	defer stop()
	c, err := newClient(options.address, cli.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.connect(ctx, options.wait); err != nil {
		return err
	}
	err = do(ctx, c)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// call makes one call of the API, within its deadline.
func call[Request, Response any](
	ctx context.Context, timeout time.Duration,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request,
) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := method(ctx, request)
	if status.Code(err) == codes.DeadlineExceeded {
		return response, fmt.Errorf("%w: the coordinator has not answered within %v", errUnavailable, timeout)
	}
	return response, err
}
