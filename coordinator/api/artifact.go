package api

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
)

// uploadTimeout is how long an upload may make no progress.
const uploadTimeout = time.Minute

var errUploadStopped = status.Errorf(codes.DeadlineExceeded, "nothing of the artifact has arrived for %v",
	uploadTimeout)

var errNoArtifacts = status.Error(codes.FailedPrecondition,
	"this coordinator's log is in memory, so it stores no artifacts: start it with a data directory (--data)")

// artifactService stores artifacts and sends them back.
type artifactService struct {
	trellisv1.UnimplementedArtifactServiceServer
	artifacts *artifact.Keeper
	memory    absences
	stopping  context.Context
}

// absences notes what can't be served: see Memory.
type absences interface {
	Missing(digest string, why *trellisv1.WaitingFor) error
}

var _ absences = Memory(nil)

// UploadArtifact stores the artifact that it receives.
func (s artifactService) UploadArtifact(stream trellisv1.ArtifactService_UploadArtifactServer) error {
	if s.artifacts.Store() == nil {
		return errNoArtifacts
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	arriving := &arrivingChunks{ctx: ctx, chunks: make(chan []byte), stopping: s.stopping}
	// It ends at the latest with the stream, which ends when this function returns.
	go func() { cancel(receiveChunks(ctx, stream, arriving.chunks)) }()
	digest, size, err := s.artifacts.Put(ctx, arriving)
	if err != nil {
		return artifactStatus(err)
	}
	return stream.SendAndClose(&trellisv1.UploadArtifactResponse{Sha256: digest, Size: uint64(size)})
}

// HasArtifact says whether this node or another has an artifact.
func (s artifactService) HasArtifact(
	ctx context.Context, request *trellisv1.HasArtifactRequest,
) (*trellisv1.HasArtifactResponse, error) {
	err := s.artifacts.Check(ctx, request.GetSha256(), false)
	if errors.Is(err, artifact.ErrNotFound) {
		return &trellisv1.HasArtifactResponse{}, nil
	}
	if err != nil {
		return nil, artifactStatus(err)
	}
	return &trellisv1.HasArtifactResponse{Found: true}, nil
}

// receiveChunks passes on what it receives. It closes chunks when everything has arrived, and otherwise returns why
// not.
func receiveChunks(
	ctx context.Context, stream trellisv1.ArtifactService_UploadArtifactServer, chunks chan<- []byte,
) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			close(chunks)
			// The artifact is still being stored, which must not be interrupted.
			<-ctx.Done()
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case chunks <- request.GetData():
		case <-ctx.Done():
			return nil
		}
	}
}

// arrivingChunks reads what receiveChunks passes on.
type arrivingChunks struct {
	ctx      context.Context
	chunks   chan []byte
	stopping context.Context
	rest     []byte
}

func (r *arrivingChunks) Read(p []byte) (int, error) {
	timer := time.NewTimer(uploadTimeout)
	defer timer.Stop()
	for len(r.rest) == 0 {
		select {
		case chunk, more := <-r.chunks:
			if !more {
				return 0, io.EOF
			}
			r.rest = chunk
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		case <-r.stopping.Done():
			return 0, context.Cause(r.stopping)
		case <-timer.C:
			return 0, errUploadStopped
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// DownloadArtifact sends an artifact. If this node does not have it, it asks the others, unless another node has asked.
func (s artifactService) DownloadArtifact(
	request *trellisv1.DownloadArtifactRequest, stream trellisv1.ArtifactService_DownloadArtifactServer,
) error {
	if len(metadata.ValueFromIncomingContext(stream.Context(), ForwardedBy)) > 0 {
		return artifactStatus(s.send(request, stream, s.artifacts.GetHere))
	}
	err := s.send(request, stream, s.artifacts.Get)
	if errors.Is(err, artifact.ErrNoStore) || errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrCorrupt) {
		// Studies that start from these weights wait, instead of sending one worker after another for them.
		if err := s.memory.Missing(request.GetSha256(), &trellisv1.WaitingFor{
			Reason: trellisv1.WaitingReason_WAITING_REASON_WEIGHTS_MISSING, Message: err.Error(),
		}); err != nil {
			return Status(err)
		}
	}
	return artifactStatus(err)
}

// send sends an artifact that find finds.
func (s artifactService) send(
	request *trellisv1.DownloadArtifactRequest, stream trellisv1.ArtifactService_DownloadArtifactServer,
	find func(ctx context.Context, digest string) (io.ReadCloser, error),
) error {
	content, err := find(stream.Context(), request.GetSha256())
	if err != nil {
		return err
	}
	return sendPieces(content, func(data []byte) error {
		return stream.Send(&trellisv1.DownloadArtifactResponse{Data: data})
	})
}

// sendPieces sends what is in an artifact piece by piece, and closes it.
func sendPieces(content io.ReadCloser, send func(data []byte) error) error {
	defer content.Close()
	buffer := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(content, buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// artifactStatus turns an error of the store into a status of the API.
func artifactStatus(err error) error {
	var answered interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answered):
		return answered.GRPCStatus().Err()
	case errors.Is(err, artifact.ErrNoStore):
		return errNoArtifacts
	case errors.Is(err, artifact.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, artifact.ErrTooLarge), errors.Is(err, artifact.ErrDigest):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, artifact.ErrNoSpace):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, artifact.ErrCorrupt):
		return status.Error(codes.DataLoss, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	default:
		// The disk or the service failed: a retry may succeed.
		return status.Error(codes.Unavailable, err.Error())
	}
}
