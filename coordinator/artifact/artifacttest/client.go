package artifacttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	trellisv1 "trellis/proto/trellis/v1"
)

// Chunk is how many bytes one message carries.
const Chunk = 1 << 20

// Upload sends an artifact in chunks of at most 1 MiB, and returns its digest.
func Upload(ctx context.Context, client trellisv1.ArtifactServiceClient, content []byte) (string, error) {
	stream, err := client.UploadArtifact(ctx)
	if err != nil {
		return "", err
	}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), Chunk)
		if stream.Send(&trellisv1.UploadArtifactRequest{Data: rest[:n]}) != nil {
			break
		}
		rest = rest[n:]
	}
	response, err := stream.CloseAndRecv()
	if err == nil && response.GetSize() != uint64(len(content)) {
		err = fmt.Errorf("%d bytes were sent, and %d have arrived", len(content), response.GetSize())
	}
	return response.GetSha256(), err
}

// Download returns the content of an artifact.
func Download(ctx context.Context, client trellisv1.ArtifactServiceClient, digest string) ([]byte, error) {
	stream, err := client.DownloadArtifact(ctx, &trellisv1.DownloadArtifactRequest{Sha256: digest})
	if err != nil {
		return nil, err
	}
	var content []byte
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err != nil {
			return content, err
		}
		if len(response.GetData()) > Chunk {
			return nil, fmt.Errorf("a chunk of %d bytes", len(response.GetData()))
		}
		content = append(content, response.GetData()...)
	}
}

// Content returns some content of the given size, always the same.
func Content(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(content)
	return content
}
