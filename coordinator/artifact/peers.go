package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
)

// askTimeout is how long another node may take to say whether it has an artifact.
const askTimeout = 5 * time.Second

// errUnasked means that some nodes could not be asked for an artifact that the others don't have.
var errUnasked = errors.New("some could not be asked")

// artifactElsewhere gets an artifact from another node, the leader first: nodes that don't share a store have what they
// took while they led. Its error is artifact.ErrNotFound if no node that can be asked has it, and errUnasked too if not all can.
func (c *Coordinator) artifactElsewhere(ctx context.Context, digest string) (io.ReadCloser, error) {
	var nodes []replication.Node
	if c.replicated != nil {
		var err error
		if nodes, err = c.replicated.Nodes(); err != nil {
			return nil, fmt.Errorf("list the nodes: %w", err)
		}
	}
	slices.SortStableFunc(nodes, func(a, b replication.Node) int { return cmp.Compare(rank(a), rank(b)) })
	var unasked []string
	for _, node := range nodes {
		if node.Address == c.address {
			continue
		}
		content, err := c.artifactFrom(ctx, node.Address, digest)
		if err == nil {
			return content, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, artifact.ErrNotFound) {
			unasked = append(unasked, err.Error())
		}
	}
	if len(unasked) > 0 {
		return nil, fmt.Errorf("find artifact %s: %w on the nodes that could be asked; %w: %s", digest, artifact.ErrNotFound,
			errUnasked, strings.Join(unasked, "; "))
	}
	return nil, fmt.Errorf("find artifact %s: %w", digest, artifact.ErrNotFound)
}

func rank(node replication.Node) int {
	if node.Leader {
		return 0
	}
	return 1
}

// artifactFrom asks one node, and returns when the first of the artifact has come.
func (c *Coordinator) artifactFrom(ctx context.Context, address, digest string) (io.ReadCloser, error) {
	conn, done, err := c.peers.connect(address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(c.outgoing(ctx))
	end := func() {
		cancel()
		done()
	}
	patience := time.AfterFunc(askTimeout, cancel)
	defer patience.Stop()
	request := &trellisv1.DownloadArtifactRequest{Sha256: digest}
	stream, err := trellisv1.NewArtifactServiceClient(conn).DownloadArtifact(ctx, request)
	if err != nil {
		end()
		return nil, fmt.Errorf("ask %s: %w", address, err)
	}
	content := &remoteArtifact{address: address, stream: stream, end: end}
	content.rest, content.err = content.receive()
	if content.err != nil && !errors.Is(content.err, io.EOF) {
		end()
		return nil, content.err
	}
	return content, nil
}

// remoteArtifact is an artifact that another node sends.
type remoteArtifact struct {
	address string
	stream  grpc.ServerStreamingClient[trellisv1.DownloadArtifactResponse]
	rest    []byte
	// err is what comes after rest, if it is known.
	err error
	end func()
}

func (r *remoteArtifact) receive() ([]byte, error) {
	response, err := r.stream.Recv()
	switch status.Code(err) {
	case codes.OK:
		return response.GetData(), nil
	case codes.NotFound:
		return nil, artifact.ErrNotFound
	case codes.DataLoss:
		return nil, fmt.Errorf("%w on %s: %s", artifact.ErrCorrupt, r.address, status.Convert(err).Message())
	}
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	return nil, fmt.Errorf("get it from %s: %w", r.address, err)
}

func (r *remoteArtifact) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.receive()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *remoteArtifact) Close() error {
	r.end()
	return nil
}
