package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/files"
)

const (
	// retryTime is how long a call is repeated while the coordinator says that it can't serve it now, or its store of
	// artifacts stands still: whatever that is can be started again meanwhile. Time without a connection does not count.
	retryTime = 3 * time.Minute
	// repeatWarning is the shortest time between two warnings about one call: the log shows what is still wrong, and is
	// not filled with it.
	repeatWarning = 30 * time.Second
	// maxPiece is how many bytes of an artifact go into one message. The coordinator accepts 1 MiB. Smaller pieces show
	// sooner that a slow upload makes progress.
	maxPiece = 256 << 10
	// stallTimeout is how long an artifact's transfer may make no progress.
	stallTimeout = 30 * time.Second
	// storingPause is how often an upload counts as moving while the coordinator stores what it has, each time by a
	// piece. That is twice minUploadSpeed: finish must not give it up because a tick is late.
	storingPause = maxPiece * time.Second / (2 * minUploadSpeed)
)

// RetryTime is 3 minutes, as retryTime says. Tests of processes shorten it.
var RetryTime time.Duration = retryTime

var (
	// errStalled means that the connection is alive, otherwise the error would be another.
	errStalled = status.Errorf(codes.DeadlineExceeded, "no progress for %v", stallTimeout)
	errDamaged = errors.New("it was damaged in transit")
)

// retry repeats a call as long as that may help, at growing intervals. failed is called for the first failure, and again
// at most every repeatWarning, unless it is the last.
func retry(ctx context.Context, call func() error, failed func(error)) error {
	var spent time.Duration
	var told time.Time
	for try := 1; ; try++ {
		began := time.Now()
		err := call()
		if err == nil {
			return nil
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.ResourceExhausted:
		case codes.DeadlineExceeded: // The coordinator, or its store of artifacts, stands still.
		case codes.Unauthenticated: // Someone may be replacing the token.
		default:
			return err
		}
		// What took longer has waited for a connection, or made progress, unless it was not stored in time. There is
		// always a second try.
		longest := stallTimeout
		if unstored := (*unstoredError)(nil); errors.As(err, &unstored) {
			longest = max(stallTimeout, min(unstored.waited, RetryTime/2))
		}
		spent += min(time.Since(began), longest)
		if spent >= RetryTime {
			return fmt.Errorf("after %d tries: %w", try, err)
		}
		if try == 1 || time.Since(told) >= repeatWarning {
			told = time.Now()
			failed(err)
		}
		delay := retryDelay(try)
		if err := sleep(ctx, delay); err != nil {
			return err
		}
		spent += delay
	}
}

// unstoredError means that the coordinator got the whole artifact, but its store took longer than it may.
type unstoredError struct {
	error
	waited time.Duration
}

func (e *unstoredError) Unwrap() error { return e.error }

// artifacts uploads and downloads artifacts. Its calls wait until there is a connection.
type artifacts struct {
	client trellisv1.ArtifactServiceClient
}

// upload sends an artifact, without retries, and returns its digest. It calls moved after each piece.
func (s artifacts) upload(ctx context.Context, content []byte, moved func()) (digest string, err error) {
	digest = digestOf(content)
	return digest, s.uploadFrom(ctx, bytes.NewReader(content), digest, uint64(len(content)), moved)
}

// uploadFile is upload for a file, whose digest and size are known.
func (s artifacts) uploadFile(ctx context.Context, path, digest string, size uint64, moved func()) error {
	file, err := files.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return s.uploadFrom(ctx, file, digest, size, moved)
}

// uploadFrom sends an artifact that it reads.
func (s artifacts) uploadFrom(ctx context.Context, content io.Reader, digest string, size uint64, moved func()) error {
	ctx, watch := watchStall(ctx)
	defer watch.stop()
	stream, err := s.client.UploadArtifact(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	watch.start()
	for {
		// A piece of its own: gRPC may still have the last one.
		piece := make([]byte, maxPiece)
		n, err := io.ReadFull(content, piece)
		// An error of Send is the end of the stream: the answer says why.
		if n > 0 && stream.Send(&trellisv1.UploadArtifactRequest{Data: piece[:n]}) != nil {
			break
		}
		if n > 0 {
			watch.moved()
			moved()
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read what is to be uploaded: %w", err)
		}
	}
	stored := watch.storing(size, moved)
	began := time.Now()
	response, err := stream.CloseAndRecv()
	stored()
	if err != nil {
		err = watch.cause(err)
		if status.Code(err) == codes.DeadlineExceeded {
			return &unstoredError{err, time.Since(began)}
		}
		return err
	}
	moved()
	if response.GetSha256() != digest || response.GetSize() != size {
		return fmt.Errorf("%d bytes with digest %q arrived, but %d with digest %s were sent: %w", response.GetSize(),
			response.GetSha256(), size, digest, errDamaged)
	}
	return nil
}

// download gets an artifact, without retries, and verifies it. It calls moved after each piece.
func (s artifacts) download(ctx context.Context, digest string, size uint64, moved func()) ([]byte, error) {
	var content bytes.Buffer // It grows with what arrives, whatever size is promised.
	if err := s.downloadTo(ctx, &content, digest, size, moved); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

// downloadTo is download to w, which has got something else if there is an error.
func (s artifacts) downloadTo(ctx context.Context, w io.Writer, digest string, size uint64, moved func()) error {
	ctx, watch := watchStall(ctx)
	defer watch.stop()
	stream, err := s.client.DownloadArtifact(ctx, &trellisv1.DownloadArtifactRequest{Sha256: digest},
		grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	watch.start()
	hash, arrived := sha256.New(), uint64(0)
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return watch.cause(err)
		}
		watch.moved()
		moved()
		if arrived += uint64(len(response.GetData())); arrived > size {
			return fmt.Errorf("it has more than %d bytes: %w", size, errDamaged)
		}
		hash.Write(response.GetData())
		if _, err := w.Write(response.GetData()); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); arrived != size || got != digest {
		return fmt.Errorf("%d bytes with digest %s, want %d: %w", arrived, got, size, errDamaged)
	}
	return nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// stall ends a transfer that makes no progress. Time without a connection does not count.
type stall struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func watchStall(ctx context.Context) (context.Context, *stall) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &stall{ctx: ctx, cancel: cancel}
}

func (s *stall) start() {
	s.timer = time.AfterFunc(stallTimeout, func() { s.cancel(errStalled) })
}

func (s *stall) moved() { s.timer.Reset(stallTimeout) }

// storing says that everything has been sent. The coordinator may have written it to a file first, and send it to a bucket
// only now, of which a worker sees nothing. It gives the bucket as long as the artifact takes at minUploadSpeed, and 20 s
// more. So the transfer counts as moving for that time, and has stallTimeout after it. Otherwise the worker would send
// everything again while it is being stored. Call stored when there is an answer.
func (s *stall) storing(size uint64, moved func()) (stored func()) {
	answered, ended := make(chan struct{}), make(chan struct{})
	until := time.Now().Add(time.Duration(size/minUploadSpeed) * time.Second)
	go func() {
		defer close(ended)
		ticker := time.NewTicker(storingPause)
		defer ticker.Stop()
		for time.Now().Before(until) {
			select {
			case <-ticker.C:
				s.moved()
				moved()
			case <-answered:
				return
			}
		}
	}()
	return func() {
		close(answered)
		<-ended
	}
}

// cause returns why a call has failed.
func (s *stall) cause(err error) error {
	if context.Cause(s.ctx) == errStalled {
		return errStalled
	}
	return err
}

// stop ends the call, if it is still running, and the watch.
func (s *stall) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.cancel(nil)
}

// fetchFiles downloads the packed files of a program.
func (s artifacts) fetchFiles(ctx context.Context, files *trellisv1.Files, to *os.File, moved func()) error {
	return s.downloadTo(ctx, to, files.GetSha256(), files.GetSize(), moved)
}
