package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

const (
	// maxCheckpoint bounds what is downloaded of a checkpoint, in bytes. The largest network's has 20 MiB.
	maxCheckpoint = 1 << 30
	// downloadTries is how often a download begins again that has broken off.
	downloadTries = 5
)

// LoadCheckpoint downloads a checkpoint and decodes it. A download that breaks off begins again.
func (c *Client) LoadCheckpoint(ctx context.Context, saved *trellisv1.Checkpoint) (*trainer.Checkpoint, error) {
	var data []byte
	var err error
	for try := 1; ; try++ {
		data, err = c.downloadArtifact(ctx, saved)
		if err == nil || try == downloadTries || !breaksOff(err) {
			break
		}
	}
	if status.Code(err) == codes.NotFound {
		return nil, fmt.Errorf("%w: the coordinator does not find their checkpoint: check that --artifacts is the "+
			"same as when they were trained, and the same on all nodes", err)
	}
	if err != nil {
		return nil, err
	}
	checkpoint := new(trainer.Checkpoint)
	if err := checkpoint.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	return checkpoint, nil
}

// downloadArtifact returns the content of an artifact, which is what its digest says.
func (c *Client) downloadArtifact(ctx context.Context, saved *trellisv1.Checkpoint) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if saved.GetSize() > maxCheckpoint {
		return nil, fmt.Errorf("a checkpoint of %s is too large", output.ShortBytes(saved.GetSize()))
	}
	stream, err := c.DownloadArtifact(ctx, &trellisv1.DownloadArtifactRequest{Sha256: saved.GetSha256()})
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if uint64(content.Len()+len(response.GetData())) > saved.GetSize() {
			return nil, fmt.Errorf("checkpoint %s is longer than its %d bytes", saved.GetSha256(),
				saved.GetSize())
		}
		content.Write(response.GetData())
	}
	if sum := sha256.Sum256(content.Bytes()); hex.EncodeToString(sum[:]) != saved.GetSha256() {
		return nil, fmt.Errorf("checkpoint %s is damaged: its %d bytes have digest %x", saved.GetSha256(),
			content.Len(), sum)
	}
	return content.Bytes(), nil
}
