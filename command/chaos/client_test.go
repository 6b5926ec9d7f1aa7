package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// callTimeout bounds a call. A disk is said to hang after 10 s.
	callTimeout = 15 * time.Second
	// probeTimeout bounds a call that asks whether a coordinator serves.
	probeTimeout = 500 * time.Millisecond
	// maxResponse bounds a response, in bytes.
	maxResponse = 64 << 20
)

// client talks to one coordinator.
type client struct {
	trellisv1.StudyServiceClient
	trellisv1.TrialServiceClient
	trellisv1.WorkerServiceClient
	trellisv1.ClusterServiceClient
	address string
	conn    *grpc.ClientConn
}

// newClient returns a client, which connects when it is first needed, and again without long pauses.
func newClient(t *testing.T, address string, options ...grpc.DialOption) *client {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 10 * time.Millisecond, Multiplier: 1.5,
				MaxDelay: 50 * time.Millisecond,
			},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{
		StudyServiceClient:   trellisv1.NewStudyServiceClient(conn),
		TrialServiceClient:   trellisv1.NewTrialServiceClient(conn),
		WorkerServiceClient:  trellisv1.NewWorkerServiceClient(conn),
		ClusterServiceClient: trellisv1.NewClusterServiceClient(conn),
		address:              address,
		conn:                 conn,
	}
}

// probe asks for a change that is refused, after it has gone through the log: it fails unless the coordinator takes
// changes and reads from what they are applied to.
func (c *client) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := c.PauseStudy(ctx, &trellisv1.PauseStudyRequest{Study: "there-is-none"}, grpc.WaitForReady(true))
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return fmt.Errorf("pause a study that there is none of: %w", err)
}

// awaitServing waits until the coordinator takes changes.
func (c *client) awaitServing(t *testing.T) {
	t.Helper()
	eventually(t, func() error { return c.probe(t.Context()) })
}

// startServing starts a coordinator and waits until it takes changes. It returns how long that took.
func (p *process) startServing(c *client) time.Duration {
	p.fleet.Helper()
	p.start()
	eventually(p.fleet.T, func() error {
		select {
		case <-p.exited:
			p.fleet.Fatalf("%s has ended before it served", p.name)
		default:
		}
		return c.probe(p.fleet.Context())
	})
	return time.Since(p.started)
}

// uncertain says whether an error leaves open whether the call was carried out.
func uncertain(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Unknown, codes.Internal:
		return true
	}
	return false
}

// getStudy returns a study.
func (c *client) getStudy(ctx context.Context, name string) (*trellisv1.Study, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: name})
	return response.GetStudy(), err
}

// listTrials returns all trials of a study, with their losses.
func (c *client) listTrials(ctx context.Context, name string) ([]*trellisv1.Trial, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var trials []*trellisv1.Trial
	request := &trellisv1.ListTrialsRequest{Study: name, PageSize: 1000, Losses: true}
	for {
		response, err := c.ListTrials(ctx, request)
		if err != nil {
			return nil, err
		}
		trials = append(trials, response.GetTrials()...)
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			return trials, nil
		}
	}
}

// watch follows a study, from an index on, until it has ended or the stream breaks.
func (c *client) watch(
	ctx context.Context, name string, since uint64, see func(*trellisv1.WatchStudyResponse) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.WatchStudy(ctx, &trellisv1.WatchStudyRequest{Study: name, SinceIndex: since})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := see(response); err != nil {
			return err
		}
	}
}
