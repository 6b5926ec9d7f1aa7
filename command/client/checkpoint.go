package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/worker/archive"
	"trellis/worker/scratch"
)

const (
	// maxCheckpoint bounds what is downloaded of a checkpoint, in bytes. The largest network's has 780 MiB.
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
		if err == nil || try == downloadTries || !BreaksOff(err) {
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
	if saved.GetSize() > maxCheckpoint {
		return nil, fmt.Errorf("a checkpoint of %s is too large", output.ShortBytes(saved.GetSize()))
	}
	var content bytes.Buffer
	if err := c.downloadTo(ctx, &content, saved.GetSha256(), saved.GetSize()); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

// DownloadFile writes an artifact to a file, which is what its digest says. A download that breaks off begins again.
func (c *Client) DownloadFile(ctx context.Context, file *os.File, digest string, size uint64) error {
	for try := 1; ; try++ {
		err := c.downloadTo(ctx, file, digest, size)
		if err == nil || try == downloadTries || !BreaksOff(err) {
			return err
		}
		if err := file.Truncate(0); err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// downloadTo writes an artifact to w, which has got something else if there is an error.
func (c *Client) downloadTo(ctx context.Context, w io.Writer, digest string, size uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.DownloadArtifact(ctx, &trellisv1.DownloadArtifactRequest{Sha256: digest})
	if err != nil {
		return err
	}
	hash, arrived := sha256.New(), uint64(0)
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if arrived += uint64(len(response.GetData())); arrived > size {
			return fmt.Errorf("checkpoint %s is longer than its %d bytes", digest, size)
		}
		hash.Write(response.GetData())
		if _, err := w.Write(response.GetData()); err != nil {
			return err
		}
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != digest {
		return fmt.Errorf("checkpoint %s is damaged: its %d bytes have digest %s", digest, arrived, sum)
	}
	return nil
}

// FetchCheckpoint downloads a checkpoint into a folder: a program's as the files that it consists of, a model's as one.
func (c *Client) FetchCheckpoint(ctx context.Context, saved *trellisv1.Checkpoint, folder *os.Root) (err error) {
	if !saved.GetProgram() {
		file, err := folder.Create(fmt.Sprintf("epoch-%d.checkpoint", saved.GetEpoch()))
		if err != nil {
			return err
		}
		return errors.Join(c.DownloadFile(ctx, file, saved.GetSha256(), saved.GetSize()), file.Close())
	}
	temporary, err := scratch.Make(os.TempDir(), "trellis-checkpoint-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporary.Remove()) }()
	packed, err := os.Create(filepath.Join(temporary.Path(), "checkpoint.tar.zst"))
	if err != nil {
		return err
	}
	defer packed.Close()
	if err := c.DownloadFile(ctx, packed, saved.GetSha256(), saved.GetSize()); err != nil {
		return err
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = archive.Unpack(ctx, packed, folder,
		archive.Limits{Files: archive.DefaultFiles, Bytes: archive.DefaultCheckpointBytes})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("something else was written to the folder meanwhile: %w", err)
	}
	return err
}
