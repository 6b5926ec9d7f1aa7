package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// askTimeout is how long another node may take to say whether it has an artifact.
const askTimeout = 5 * time.Second

// Peers are the other nodes.
type Peers interface {
	// Others returns the addresses of the other nodes, the leader's first.
	Others() ([]string, error)
	// Connect returns a connection to one of them for one call.
	Connect(address string) (conn *grpc.ClientConn, done func(), err error)
	// Outgoing returns the context for a call to another node. It says that a node is calling, so that the other node
	// does not ask further nodes.
	Outgoing(ctx context.Context) context.Context
}

// elsewhere finds artifacts on other nodes.
type elsewhere struct{ peers Peers }

// get gets an artifact from another node, asking the leader first: nodes that don't share a store have the artifacts
// that were uploaded while they led. The error is ErrNotFound if no node that can be asked has it, and also ErrUnasked
// if some nodes can't be asked.
func (e elsewhere) get(ctx context.Context, digest string) (io.ReadCloser, error) {
	nodes, err := e.peers.Others()
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	var unasked []string
	for _, address := range nodes {
		content, err := e.from(ctx, address, digest)
		if err == nil {
			return content, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, ErrNotFound) {
			unasked = append(unasked, err.Error())
		}
	}
	if len(unasked) > 0 {
		return nil, fmt.Errorf("find artifact %s: %w on the nodes that could be asked; %w: %s", digest, ErrNotFound,
			ErrUnasked,
			strings.Join(unasked, "; "))
	}
	return nil, fmt.Errorf("find artifact %s: %w", digest, ErrNotFound)
}

// from asks one node, and returns when the first bytes of the artifact have arrived.
func (e elsewhere) from(ctx context.Context, address, digest string) (io.ReadCloser, error) {
	conn, done, err := e.peers.Connect(address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(e.peers.Outgoing(ctx))
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
	// err is the error to return after rest, if it is already known.
	err error
	end func()
}

func (r *remoteArtifact) receive() ([]byte, error) {
	response, err := r.stream.Recv()
	switch status.Code(err) {
	case codes.OK:
		return response.GetData(), nil
	case codes.NotFound:
		return nil, ErrNotFound
	case codes.DataLoss:
		return nil, fmt.Errorf("%w on %s: %s", ErrCorrupt, r.address, status.Convert(err).Message())
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
