package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

const (
	// outputPause is how long a call that follows an output waits until it asks the worker again.
	outputPause = 300 * time.Millisecond
	// maxOutputWindow is how many bytes a compressed output can make the decoder keep. Workers' need 4 MiB at most.
	maxOutputWindow = 8 << 20
)

// Outputs gets what programs write from the workers that run them. Only the leader can.
type Outputs interface {
	// Output returns what the program of an attempt has written from an offset on.
	Output(ctx context.Context, worker string, attempt, offset uint64) (*trellisv1.OutputPiece, error)
}

// GetOutput sends what the program of an attempt has written: from its worker while the attempt is held, and then from the
// artifact in which the worker has left it.
func (s trialService) GetOutput(
	request *trellisv1.GetOutputRequest, stream trellisv1.TrialService_GetOutputServer,
) error {
	run, err := s.store.Snapshot().Run(nil, request.GetStudy(), request.GetRun())
	if err != nil {
		return Status(err)
	}
	f := &outputFollower{
		trialService: s, stream: stream, follow: request.GetFollow(), run: run, attempt: request.GetAttempt(),
	}
	if f.attempt == 0 {
		if f.attempt = lastAttempt(run); f.attempt == 0 {
			return status.Errorf(codes.NotFound, "no attempt at run %s has written any output", run.GetId())
		}
	}
	if run.GetAttempt() == f.attempt && run.GetWorker() != "" {
		if err := f.live(); err != nil {
			return err
		}
	}
	return f.stored()
}

// lastAttempt is the attempt that holds a run or, if there is none, the last one of which there is output. It is 0 if there
// is none either.
func lastAttempt(run *trellisv1.Run) uint64 {
	if run.GetWorker() != "" {
		return run.GetAttempt()
	}
	if outputs := run.GetOutputs(); len(outputs) > 0 {
		return outputs[len(outputs)-1].GetAttempt()
	}
	return 0
}

// outputFollower sends the output of one attempt.
type outputFollower struct {
	trialService
	stream  trellisv1.TrialService_GetOutputServer
	follow  bool
	run     *trellisv1.Run
	attempt uint64
	// offset is how many bytes of the output have been sent or left out, and began says that there was a response.
	offset uint64
	began  bool
}

// live sends what the worker has, until it has no more or, if the output is followed, until the attempt has ended.
func (f *outputFollower) live() error {
	ctx := f.stream.Context()
	for {
		piece, err := f.outputs.Output(ctx, f.run.GetWorker(), f.attempt, f.offset)
		if err != nil {
			// The attempt may have ended meanwhile: then its output is stored.
			if f.isStored() {
				return nil
			}
			return Status(err)
		}
		if err := f.send(piece.GetOffset(), piece.GetData()); err != nil {
			return err
		}
		switch {
		case piece.GetEnded():
			return f.awaitStored(ctx)
		case len(piece.GetData()) > 0:
			continue
		case !f.follow:
			return nil
		}
		if err := f.pause(ctx); err != nil {
			return err
		}
	}
}

// pause waits until the worker is asked again.
func (f *outputFollower) pause(ctx context.Context) error {
	timer := time.NewTimer(outputPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-f.stopping.Done():
		return context.Cause(f.stopping)
	}
}

// awaitStored waits, if the output is followed, until an attempt whose program has ended is over: whoever follows then sees
// how the run is.
func (f *outputFollower) awaitStored(ctx context.Context) error {
	for f.follow {
		run, err := f.store.Snapshot().Run(nil, f.run.GetStudy(), f.run.GetId())
		if err != nil || run.GetAttempt() != f.attempt || run.GetWorker() == "" {
			return nil
		}
		if err := f.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// output returns what the store knows of the attempt's output, or nil.
func (f *outputFollower) output() *trellisv1.Output {
	run, err := f.store.Snapshot().Run(nil, f.run.GetStudy(), f.run.GetId())
	if err != nil {
		return nil // It has been deleted.
	}
	return trajectory.OutputOf(run, f.attempt)
}

func (f *outputFollower) isStored() bool { return f.output() != nil }

// stored sends what has not been sent and is in an artifact.
func (f *outputFollower) stored() error {
	output := f.output()
	switch {
	case output == nil && !f.began:
		return status.Errorf(codes.NotFound, "there is no output of attempt %d at run %s: it has written nothing, its worker "+
			"was lost, or it was stopped", f.attempt, f.run.GetId())
	case output == nil || f.offset >= output.GetLength()+output.GetOmitted():
		return nil
	}
	return f.sendArtifact(output)
}

// sendArtifact sends what has not been sent of an output that is in an artifact.
func (f *outputFollower) sendArtifact(output *trellisv1.Output) error {
	content, err := f.artifacts.Get(f.stream.Context(), output.GetSha256())
	if err != nil {
		return artifactStatus(err)
	}
	defer content.Close()
	decoded, err := zstd.NewReader(content, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxOutputWindow))
	if err != nil {
		return Status(err)
	}
	defer decoded.Close()
	return f.sendParts(decoded, output)
}

// sendParts sends the beginning of an output and, after what was left out, its end.
func (f *outputFollower) sendParts(decoded io.Reader, output *trellisv1.Output) error {
	buffer, length := make([]byte, chunkBytes/4), output.GetLength()
	for read := uint64(0); read < length; {
		// In the output, this is where the next byte of the artifact is.
		at, end := read, min(output.GetHead(), length)
		if read >= output.GetHead() {
			at, end = read+output.GetOmitted(), length
		}
		n, err := io.ReadFull(decoded, buffer[:min(uint64(len(buffer)), end-read)])
		if err != nil {
			return status.Errorf(codes.DataLoss, "the output of attempt %d is damaged: %v", f.attempt, err)
		}
		read += uint64(n)
		data := buffer[:n]
		if skip := f.offset - min(f.offset, at); skip > 0 { // The worker has sent this.
			data = data[min(skip, uint64(n)):]
			at += min(skip, uint64(n))
		}
		if err := f.send(at, data); err != nil {
			return err
		}
	}
	return nil
}

// send sends data that begins at an offset of the output.
func (f *outputFollower) send(offset uint64, data []byte) error {
	if len(data) == 0 && f.began {
		return nil
	}
	f.began = true
	response := &trellisv1.GetOutputResponse{Attempt: f.attempt, Data: data}
	if offset > f.offset && len(data) > 0 {
		response.Omitted = offset - f.offset
	}
	if err := f.stream.Send(response); err != nil {
		return fmt.Errorf("send output: %w", errors.Join(err, context.Cause(f.stream.Context())))
	}
	if len(data) > 0 {
		f.offset = offset + uint64(len(data))
	}
	return nil
}
