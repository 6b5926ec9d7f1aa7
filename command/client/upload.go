package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// uploadPiece is how many bytes of an artifact go into one message. The coordinator accepts 1 MiB.
	uploadPiece = 256 << 10
	// uploadTries is how often an upload begins again that has broken off, and uploadPause the pause before it.
	uploadTries = 5
	uploadPause = 500 * time.Millisecond
)

// EnsureArtifact uploads an artifact unless the coordinator has it, and says whether it did. open returns its content from
// the beginning.
func (c *Client) EnsureArtifact(
	ctx context.Context, digest string, size uint64, open func() (io.ReadCloser, error),
) (uploaded bool, err error) {
	for try := 1; ; try++ {
		uploaded, err = c.ensureArtifact(ctx, digest, size, open)
		code := status.Code(err)
		if err == nil || try == uploadTries || code != codes.Unavailable && code != codes.ResourceExhausted {
			return uploaded, err
		}
		select {
		case <-time.After(uploadPause):
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

func (c *Client) ensureArtifact(
	ctx context.Context, digest string, size uint64, open func() (io.ReadCloser, error),
) (uploaded bool, err error) {
	if err := c.AwaitLeader(ctx); err != nil {
		return false, err
	}
	response, err := Call(ctx, CallTimeout, c.HasArtifact, &trellisv1.HasArtifactRequest{Sha256: digest})
	if err != nil || response.GetFound() {
		return false, err
	}
	content, err := open()
	if err != nil {
		return false, err
	}
	defer content.Close()
	return true, c.upload(ctx, content, digest, size)
}

func (c *Client) upload(ctx context.Context, content io.Reader, digest string, size uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.UploadArtifact(ctx)
	if err != nil {
		return err
	}
	for {
		piece := make([]byte, uploadPiece)
		n, err := io.ReadFull(content, piece)
		// An error of Send is the end of the stream: the answer says why.
		if n > 0 && stream.Send(&trellisv1.UploadArtifactRequest{Data: piece[:n]}) != nil {
			break
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if response.GetSha256() != digest || response.GetSize() != size {
		return fmt.Errorf("%d bytes with digest %s have arrived, not the %d bytes with digest %s that were sent",
			response.GetSize(), response.GetSha256(), size, digest)
	}
	return nil
}
