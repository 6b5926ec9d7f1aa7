package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// artifactsTest is a service of artifacts on a memory pipe.
type artifactsTest struct {
	*testing.T
	artifacts *artifact.Keeper
	conn      *grpc.ClientConn
	client    trellisv1.ArtifactServiceClient
	// stop stops the node.
	stop func()
	ctx  context.Context
}

// serveArtifacts runs a test with a service over a store, under a fake clock.
func serveArtifacts(t *testing.T, store artifact.Backing, test func(*artifactsTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		stopping, stop := context.WithCancelCause(context.Background())
		s := &artifactsTest{
			T: t, artifacts: artifact.NewKeeper(slog.New(slog.DiscardHandler)), ctx: ctx,
			stop: func() { stop(status.Error(codes.Unavailable, "the coordinator is shutting down")) },
		}
		defer s.stop()
		s.artifacts.Use(store, nil)
		server := grpc.NewServer()
		trellisv1.RegisterArtifactServiceServer(server, artifactService{
			artifacts: s.artifacts, memory: nothingMissing{}, stopping: stopping,
		})
		listener := bufconn.Listen(1 << 20)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:artifacts", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context,
				_ string,
			) (net.Conn, error) {
				return listener.DialContext(ctx)
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			cancel()
			server.Stop()
			if err := errors.Join(<-served, conn.Close()); err != nil {
				t.Error(err)
			}
		}()
		s.conn, s.client = conn, trellisv1.NewArtifactServiceClient(conn)
		test(s)
	})
}

// nothingMissing is the memory of a leader without studies.
type nothingMissing struct{}

func (nothingMissing) Missing(string, *trellisv1.WaitingFor) error { return nil }

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("error %v, want %v with %q", err, code, text)
	}
}

func openArtifactFolder(t *testing.T, path string) *artifact.Store {
	t.Helper()
	store, err := artifact.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func TestArtifactsComeBackAsTheyWere(t *testing.T) {
	serveArtifacts(t, openArtifactFolder(t, t.TempDir()), func(s *artifactsTest) {
		for _, size := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3*chunkBytes + 5} {
			content := artifacttest.Content(size)
			digest, err := artifacttest.Upload(s.ctx, s.client, content)
			if err != nil || digest != artifacttest.DigestOf(content) {
				s.Fatalf("upload of %d bytes: %s, %v", size, digest, err)
			}
			if found, err := artifacttest.Download(s.ctx, s.client, digest); err != nil ||
				!bytes.Equal(found, content) {
				s.Errorf("download of %d bytes: %d bytes, %v", size, len(found), err)
			}
		}
		_, err := artifacttest.Download(s.ctx, s.client, strings.Repeat("0", 64))
		wantCode(s.T, err, codes.NotFound, strings.Repeat("0", 64))
		_, err = artifacttest.Download(s.ctx, s.client, "../../etc/passwd")
		wantCode(s.T, err, codes.InvalidArgument, "64 lower-case")
	})
}

func TestArtifactsThatAreThereAreKnown(t *testing.T) {
	serveArtifacts(t, openArtifactFolder(t, t.TempDir()), func(s *artifactsTest) {
		digest, err := artifacttest.Upload(s.ctx, s.client, []byte("files"))
		if err != nil {
			s.Fatal(err)
		}
		for name, want := range map[string]bool{digest: true, strings.Repeat("0", 64): false} {
			response, err := s.client.HasArtifact(s.ctx, &trellisv1.HasArtifactRequest{Sha256: name})
			if err != nil || response.GetFound() != want {
				s.Errorf("HasArtifact(%s) is %t, %v, want %t", name, response.GetFound(), err, want)
			}
		}
	})
}

func TestCoordinatorWithoutAStoreSaysHowToGetOne(t *testing.T) {
	serveArtifacts(t, nil, func(s *artifactsTest) {
		_, err := artifacttest.Upload(s.ctx, s.client, []byte("content"))
		wantCode(s.T, err, codes.FailedPrecondition, "--data")
		_, err = artifacttest.Download(s.ctx, s.client, strings.Repeat("0", 64))
		wantCode(s.T, err, codes.FailedPrecondition, "--data")
	})
}

// A damaged artifact is not taken for a whole one.
func TestDownloadOfADamagedArtifactFails(t *testing.T) {
	folder := t.TempDir()
	serveArtifacts(t, openArtifactFolder(t, folder), func(s *artifactsTest) {
		content := artifacttest.Content(2*chunkBytes + 5)
		digest, err := artifacttest.Upload(s.ctx, s.client, content)
		if err != nil {
			s.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(folder, digest[:2], digest+"-*"))
		if err != nil || len(files) != 1 {
			s.Fatalf("%v, %v", files, err)
		}
		content[chunkBytes] ^= 1
		if err := os.WriteFile(files[0], content, 0o600); err != nil {
			s.Fatal(err)
		}
		_, err = artifacttest.Download(s.ctx, s.client, digest)
		wantCode(s.T, err, codes.DataLoss, "corrupt")
	})
}

// Errors of the store reach the client with a code that says whether to try again.
func TestErrorsOfUploads(t *testing.T) {
	store := artifacttest.New()
	serveArtifacts(t, store, func(s *artifactsTest) {
		for _, one := range []struct {
			err  error
			code codes.Code
		}{
			{fmt.Errorf("%w: make room", artifact.ErrNoSpace), codes.ResourceExhausted},
			{artifact.ErrTooLarge, codes.InvalidArgument},
			{syscall.EIO, codes.Unavailable},
		} {
			store.Fail("put", one.err)
			_, err := artifacttest.Upload(s.ctx, s.client, []byte("content"))
			wantCode(s.T, err, one.code, one.err.Error())
		}
	})
}

// An upload that breaks off, stands still, or meets the end of the coordinator leaves nothing.
func TestUploadsThatDoNotEnd(t *testing.T) {
	store := artifacttest.New()
	serveArtifacts(t, store, func(s *artifactsTest) {
		begin := func(ctx context.Context) grpc.ClientStreamingClient[trellisv1.UploadArtifactRequest,
			trellisv1.UploadArtifactResponse] {
			stream, err := s.client.UploadArtifact(ctx)
			if err != nil {
				s.Fatal(err)
			}
			if err := stream.Send(&trellisv1.UploadArtifactRequest{Data: []byte("part")}); err != nil {
				s.Fatal(err)
			}
			return stream
		}
		ctx, cancel := context.WithCancel(s.ctx)
		broken := begin(ctx)
		synctest.Wait()
		cancel()
		// Not CloseAndRecv: gRPC cancels on its own time, and the upload might be whole before it does.
		wantCode(s.T, broken.RecvMsg(&trellisv1.UploadArtifactResponse{}), codes.Canceled, "")

		stalled := begin(s.ctx)
		began := time.Now()
		wantCode(s.T, stalled.RecvMsg(&trellisv1.UploadArtifactResponse{}), codes.DeadlineExceeded,
			"nothing of the artifact")
		if waited := time.Since(began); waited != uploadTimeout {
			s.Errorf("ended after %v, want %v", waited, uploadTimeout)
		}
		// A slow one that moves is not stalled.
		slow := begin(s.ctx)
		for range 5 {
			time.Sleep(uploadTimeout - time.Second)
			if err := slow.Send(&trellisv1.UploadArtifactRequest{Data: []byte("part")}); err != nil {
				s.Fatal(err)
			}
		}
		if _, err := slow.CloseAndRecv(); err != nil {
			s.Error(err)
		}
		ending := begin(s.ctx)
		synctest.Wait()
		s.stop()
		wantCode(s.T, ending.RecvMsg(&trellisv1.UploadArtifactResponse{}), codes.Unavailable, "shutting down")
		if len(store.Names()) != 1 {
			s.Errorf("%d artifacts, want that of the slow upload", len(store.Names()))
		}
	})
}
