package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
	"trellis/worker/dial"
)

// IsUnanswered says whether err means that a study has no best trial, because none has been answered yet.
func IsUnanswered(err error) bool { return status.Code(err) == codes.FailedPrecondition }

const (
	// DefaultWait is how long a command waits for a coordinator that is not there.
	DefaultWait = 30 * time.Second
	// CallTimeout bounds a call of the API.
	CallTimeout = 20 * time.Second
	// CreateTimeout bounds the creation of a study, for which the coordinator may have to download a data set.
	CreateTimeout = 10 * time.Minute
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
		{"service": "trellis.v1.StudyService", "method": "DeleteCheckpoints"},
		{"service": "trellis.v1.StudyService", "method": "PlanCheckpointDeletion"},
		{"service": "trellis.v1.AccessService", "method": "WhoAmI"},
		{"service": "trellis.v1.AccessService", "method": "ListTokens"},
		{"service": "trellis.v1.AccessService", "method": "ListEvents"},
		{"service": "trellis.v1.HookService", "method": "ListHooks"},
		{"service": "trellis.v1.HookService", "method": "ListDeliveries"},
		{"service": "trellis.v1.PaperService", "method": "PutPaperReport"},
		{"service": "trellis.v1.PaperService", "method": "GetPaperReport"},
		{"service": "trellis.v1.PaperService", "method": "ListPaperReports"},
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

// Client is a connection to a coordinator, or to one of the nodes of a cluster of them.
type Client struct {
	trellisv1.StudyServiceClient
	trellisv1.TrialServiceClient
	trellisv1.ArtifactServiceClient
	trellisv1.ClusterServiceClient
	trellisv1.AccessServiceClient
	trellisv1.HookServiceClient
	trellisv1.PaperServiceClient
	workers trellisv1.WorkerServiceClient

	// Address is the coordinator's, or those of several nodes with commas between them.
	Address string
	// Credentials are what it connects with.
	Credentials Credentials
	// EncryptedBy names what has the client use TLS, for messages: --authority, for example.
	EncryptedBy string
	// Tracer traces what is submitted. Nil: nothing is traced.
	Tracer *tracing.Tracer
	// nodes is how many addresses these are.
	nodes int
	// notices is where the client says that it waits.
	notices io.Writer
	conn    *dial.Conn

	mu sync.Mutex
	// failed has the addresses that could not be connected to since the last one that could, and why.
	failed map[string]error
	// connected says that the last attempt to connect succeeded.
	connected bool
	// waiting says that a notice of this outage has been written.
	waiting bool
}

// Credentials say how a coordinator is known, and how it knows who calls.
type Credentials = dial.Credentials

// New returns a client of the coordinator at an address, or of the first of several nodes that can be reached. It
// connects when it is first needed.
func New(address string, credentials Credentials, notices io.Writer) (*Client, error) {
	nodes, err := dial.Nodes(address)
	if err != nil {
		return nil, exit.Usagef("--coordinator: %w", err)
	}
	c := &Client{
		Address: address, Credentials: credentials, nodes: len(nodes), notices: notices, failed: make(map[string]error),
	}
	if err := credentials.Validate(); err != nil {
		return nil, exit.Usagef("%w", err)
	}
	conn, err := dial.NewClient(address, dial.First, credentials,
		grpc.WithContextDialer(c.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           reconnect,
			MinConnectTimeout: reconnect.MaxDelay,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultServiceConfig(retryPolicy),
		grpc.WithChainUnaryInterceptor(printableUnary, againUnary), grpc.WithStreamInterceptor(printableStream),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxResponse)),
	)
	if errors.Is(err, dial.ErrPlainToken) {
		return nil, plainToken(address)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to %s: %w", address, err)
	}
	c.conn = conn
	c.StudyServiceClient = trellisv1.NewStudyServiceClient(conn)
	c.TrialServiceClient = trellisv1.NewTrialServiceClient(conn)
	c.ArtifactServiceClient = trellisv1.NewArtifactServiceClient(conn)
	c.ClusterServiceClient = trellisv1.NewClusterServiceClient(conn)
	c.AccessServiceClient = trellisv1.NewAccessServiceClient(conn)
	c.HookServiceClient = trellisv1.NewHookServiceClient(conn)
	c.PaperServiceClient = trellisv1.NewPaperServiceClient(conn)
	c.workers = trellisv1.NewWorkerServiceClient(conn)
	return c, nil
}

// dial connects to a node, and says once per outage that there is none and that it keeps trying.
func (c *Client) dial(ctx context.Context, address string) (net.Conn, error) {
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
		fmt.Fprintf(c.notices, "trellis: no coordinator at %s (%s); retrying. Set its address with --coordinator, "+
			"or start one: trellis coordinator\n", c.Address, dialProblem(err))
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

// Connect waits until the coordinator is there, for at most wait; 0 waits forever. The error is ErrUnavailable.
func (c *Client) Connect(ctx context.Context, wait time.Duration) error {
	return c.Reach(ctx, wait, false)
}

// Reach connects within wait, or forever if wait is 0. If once, it gives up as soon as no address can be connected to.
// The error is ErrUnavailable, or ErrUsage if the connection can't be made secure.
func (c *Client) Reach(ctx context.Context, wait time.Duration, once bool) error {
	return Explain(c.reach(ctx, wait, once), c.EncryptedBy)
}

// reach is Reach without the words for a mistake of a secure connection, which is a dial.Mistake.
func (c *Client) reach(ctx context.Context, wait time.Duration, once bool) error {
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
			select {
			case mistake := <-c.conn.Mistakes():
				return mistake
			default:
				continue
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.unavailable(fmt.Sprintf(" within %v", wait))
	}
}

// unavailable is ErrUnavailable with the reason. within says how long it was tried, or nothing.
func (c *Client) unavailable(within string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connected {
		return fmt.Errorf("%w: the server at %s is not a coordinator", exit.ErrUnavailable,
			c.Address)
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
	return fmt.Errorf("%w at %s%s: %s", exit.ErrUnavailable, c.Address, within, strings.Join(problems, ", "))
}

// Close closes the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close the connection to %s: %w", c.Address, err)
	}
	return nil
}

// Call makes one call of the API, within its deadline.
func Call[Request, Response any](
	ctx context.Context, timeout time.Duration,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request,
) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := method(ctx, request)
	if status.Code(err) == codes.DeadlineExceeded {
		return response, fmt.Errorf("%w: the coordinator has not answered within %v", exit.ErrUnavailable, timeout)
	}
	return response, err
}

// DefaultAddress is where a coordinator listens and where clients and workers look for it.
const DefaultAddress = "127.0.0.1:7070"

// AddressVariable names the environment variable that replaces DefaultAddress for clients and workers.
const AddressVariable = "TRELLIS_COORDINATOR"
