package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/program"
)

const (
	// maxOutputPiece is how many bytes of a program's output go into one message. The coordinator accepts as many.
	maxOutputPiece = 64 << 10
	// maxOutputRequests is how many requests wait for their answers. The coordinator gives up those that are dropped.
	maxOutputRequests = 256
)

// askForOutput notes a request.
func (s *session) askForOutput(request *trellisv1.OutputRequest) {
	if len(s.outputs) < maxOutputRequests {
		s.outputs = append(s.outputs, request)
	}
}

// nextOutput returns the next request to answer, and forgets it. It returns nil if there is none.
func (s *session) nextOutput() *trellisv1.OutputRequest {
	if len(s.outputs) == 0 {
		return nil
	}
	next := s.outputs[0]
	s.outputs = s.outputs[1:]
	return next
}

// outputPiece answers a request.
func (w *Worker) outputPiece(request *trellisv1.OutputRequest) *trellisv1.OutputPiece {
	piece := &trellisv1.OutputPiece{
		Id: request.GetId(), Attempt: request.GetAttempt(), Offset: request.GetOffset(), Ended: true,
	}
	a := w.find(request.GetAttempt())
	if a == nil {
		return piece
	}
	output := a.output.Load()
	if output == nil {
		piece.Ended = !a.working // It waits for its slot, its GPUs or its files.
		return piece
	}
	chunk, err := output.Read(int64(request.GetOffset()), maxOutputPiece)
	if err != nil {
		return piece // It is closed: the coordinator has it by now.
	}
	piece.Offset, piece.Data = uint64(chunk.Offset), chunk.Data
	piece.Ended = chunk.Ended && len(chunk.Data) == 0
	return piece
}

// saveOutput uploads what an attempt's program has written, and returns what the coordinator is told of it. It returns nil
// if nothing was written, or if it can't be uploaded: the run is more important.
func (w *Worker) saveOutput(a *attempt, output *program.Output, folder string, log *slog.Logger) *trellisv1.Output {
	if output.Kept().Total == 0 || w.checkpointInterval.Load() == 0 || a.ctx.Err() != nil {
		return nil
	}
	saved, err := w.uploadOutput(a, output, filepath.Join(folder, "output.zst"))
	if err != nil {
		if a.ctx.Err() == nil {
			log.Warn("could not keep a program's output", "error", reason(err))
		}
		return nil
	}
	return saved
}

func (w *Worker) uploadOutput(a *attempt, output *program.Output, path string) (*trellisv1.Output, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	kept, err := output.Compress(io.MultiWriter(file, hash))
	size, sought := file.Seek(0, io.SeekCurrent)
	closed := file.Close()
	for _, err := range []error{err, sought, closed} {
		if err != nil {
			return nil, err
		}
	}
	saved := &trellisv1.Output{
		Attempt: a.number(), Worker: w.name, Sha256: hex.EncodeToString(hash.Sum(nil)), Size: uint64(size),
		Length: uint64(kept.Head + kept.Tail), Omitted: uint64(kept.Omitted()), Head: uint64(kept.Head),
	}
	ctx, cancel := w.uploadContext(a.ctx)
	defer cancel()
	err = retry(ctx, func() error {
		return w.artifacts.uploadFile(ctx, path, saved.GetSha256(), saved.GetSize(), func() { a.steps.Add(1) })
	}, func(error) {})
	return saved, err
}

// uploadContext ends when an upload has taken too long that an outcome waits for.
func (w *Worker) uploadContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(parent, lastUploadTimeout)
	drained := make(chan struct{})
	go func() {
		select {
		case <-w.drain:
			timer := time.NewTimer(w.uploadShare())
			defer timer.Stop()
			select {
			case <-timer.C:
				cancel()
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		close(drained)
	}()
	return ctx, func() {
		cancel()
		<-drained
	}
}
