package worker

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// artifactStore is the coordinator's artifact service.
type artifactStore struct {
	// pause is how long each piece of an upload takes.
	pause time.Duration
	trellisv1.UnimplementedArtifactServiceServer

	// uploading and downloading, if set, decide on the so-manieth call, counted from 1, before it is answered. They may
	// wait for the stream's end.
	uploading   func(call int, stream trellisv1.ArtifactService_UploadArtifactServer) error
	downloading func(call int, stream trellisv1.ArtifactService_DownloadArtifactServer) error
	// storing is how long it takes to store what has arrived, for example in a bucket.
	storing time.Duration
	// answer, if set, alters what an upload is answered.
	answer func(*trellisv1.UploadArtifactResponse)

	mu        sync.Mutex
	contents  map[string][]byte
	uploads   int
	downloads int
	// largest is the size of the largest piece.
	largest int
}

func (s *artifactStore) UploadArtifact(stream trellisv1.ArtifactService_UploadArtifactServer) error {
	s.mu.Lock()
	s.uploads++
	call := s.uploads
	s.mu.Unlock()
	if s.uploading != nil {
		if err := s.uploading(call, stream); err != nil {
			return err
		}
	}
	var content bytes.Buffer
	for {
		if err := sleep(stream.Context(), s.pause); err != nil {
			return err
		}
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		content.Write(request.GetData())
		s.mu.Lock()
		s.largest = max(s.largest, len(request.GetData()))
		s.mu.Unlock()
	}
	if err := sleep(stream.Context(), s.storing); err != nil {
		return err
	}
	response := &trellisv1.UploadArtifactResponse{Sha256: s.put(content.Bytes()), Size: uint64(content.Len())}
	if s.answer != nil {
		s.answer(response)
	}
	return stream.SendAndClose(response)
}

func (s *artifactStore) DownloadArtifact(
	request *trellisv1.DownloadArtifactRequest, stream trellisv1.ArtifactService_DownloadArtifactServer,
) error {
	s.mu.Lock()
	s.downloads++
	call := s.downloads
	content, known := s.contents[request.GetSha256()]
	s.mu.Unlock()
	if s.downloading != nil {
		if err := s.downloading(call, stream); err != nil {
			return err
		}
	}
	if !known {
		return status.Errorf(codes.NotFound, "no artifact %s", request.GetSha256())
	}
	for piece := range slices.Chunk(content, 1<<20) {
		if err := stream.Send(&trellisv1.DownloadArtifactResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

// put keeps an artifact and returns its digest.
func (s *artifactStore) put(content []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := digestOf(content)
	s.contents[digest] = bytes.Clone(content)
	return digest
}

func (s *artifactStore) get(digest string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contents[digest]
}

// calls are how many uploads and downloads there have been.
func (s *artifactStore) calls() (uploads, downloads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploads, s.downloads
}

func TestArtifacts(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		h.connect()
		store := h.coordinator.artifacts
		service := h.worker.artifacts
		for _, size := range []int{1, maxPiece - 1, maxPiece, maxPiece + 1, 5*maxPiece + 3} {
			content := bytes.Repeat([]byte("artifact"), size/8+1)[:size]
			moved := 0
			digest, err := service.upload(h.Context(), content, func() { moved++ })
			if err != nil || !bytes.Equal(store.get(digest), content) || moved != (size-1)/maxPiece+2 {
				t.Errorf("%d bytes: got digest %s, error %v and %d moves; the coordinator has %d bytes", size, digest, err,
					moved, len(store.get(digest)))
			}
			moved = 0
			got, err := service.download(h.Context(), digest, uint64(size), func() { moved++ })
			if err != nil || !bytes.Equal(got, content) || moved == 0 {
				t.Errorf("%d bytes: got %d bytes, error %v and %d moves", size, len(got), err, moved)
			}
			for _, other := range []uint64{0, uint64(size) - 1, uint64(size) + 1} {
				moved = 0
				_, err := service.download(h.Context(), digest, other, func() { moved++ })
				if !errors.Is(err, errDamaged) || other == 0 && moved != 1 {
					t.Errorf("%d bytes instead of %d: got error %v after %d pieces", size, other, err, moved)
				}
			}
		}
		if store.largest != maxPiece {
			t.Errorf("the largest piece had %d bytes, want %d", store.largest, maxPiece)
		}
		digest := store.put([]byte("content"))
		store.contents[digest][3]++
		if _, err := service.download(h.Context(), digest, 7, func() {}); !errors.Is(err, errDamaged) {
			t.Errorf("other content: got error %v", err)
		}
		store.answer = func(response *trellisv1.UploadArtifactResponse) { response.Size++ }
		if _, err := service.upload(h.Context(), []byte("content"), func() {}); !errors.Is(err, errDamaged) {
			t.Errorf("an answer of another size: got error %v", err)
		}
		store.answer = func(response *trellisv1.UploadArtifactResponse) { response.Sha256 = strings.Repeat("0", 64) }
		if _, err := service.upload(h.Context(), []byte("content"), func() {}); !errors.Is(err, errDamaged) {
			t.Errorf("an answer of another digest: got error %v", err)
		}
	})
}

// A transfer that stands still is given up; one that is only slow is not.
func TestStalledTransfers(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		h.connect()
		store := h.coordinator.artifacts
		content := bytes.Repeat([]byte("artifact"), maxPiece)
		store.uploading = func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		store.downloading = func(_ int, stream trellisv1.ArtifactService_DownloadArtifactServer) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		start := time.Now()
		if _, err := h.worker.artifacts.upload(h.Context(), content, func() {}); !errors.Is(err, errStalled) {
			t.Errorf("upload: got error %v", err)
		}
		if _, err := h.worker.artifacts.download(h.Context(), digestOf(content), 7, func() {}); !errors.Is(err, errStalled) {
			t.Errorf("download: got error %v", err)
		}
		if took := time.Since(start); took != 2*stallTimeout {
			t.Errorf("both took %v, want %v", took, 2*stallTimeout)
		}
		synctest.Wait()
		store.uploading = func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			for range 4 {
				if err := sleep(stream.Context(), stallTimeout*2/3); err != nil {
					return err
				}
				if _, err := stream.Recv(); err != nil {
					return err
				}
			}
			return nil
		}
		if _, err := h.worker.artifacts.upload(h.Context(), content, func() {}); errors.Is(err, errStalled) {
			t.Error("a slow upload was given up")
		}
		// It lacks the pieces that were taken away above.
	})
}

// A coordinator that passes an artifact on to a bucket answers when the bucket has it. It may take as long as at the
// lowest speed, and the artifact is not sent again meanwhile.
func TestSlowBucket(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		h.connect()
		store := h.coordinator.artifacts
		content := bytes.Repeat([]byte("artifact"), 16*maxPiece/8)
		const slowest = 16 * maxPiece / minUploadSpeed * time.Second
		for _, test := range []struct {
			storing, takes time.Duration
			want           error
			// moves is how often it must move at least: each piece once, and again while it is stored.
			moves int
		}{
			{0, 0, nil, 16},
			{slowest + stallTimeout - time.Second, slowest + stallTimeout - time.Second, nil, 32},
			{time.Hour, slowest + stallTimeout, errStalled, 32},
		} {
			store.storing = test.storing
			before, _ := store.calls()
			moves, start := 0, time.Now()
			_, err := h.worker.artifacts.upload(h.Context(), content, func() { moves++ })
			took := time.Since(start)
			if !errors.Is(err, test.want) || took > test.takes || took < test.takes-storingPause {
				t.Errorf("stored in %v: got error %v after %v, want %v after %v", test.storing, err, took, test.want,
					test.takes)
			}
			if after, _ := store.calls(); after != before+1 || moves < test.moves {
				t.Errorf("stored in %v: %d uploads with %d moves, want 1 with %d at least", test.storing, after-before, moves,
					test.moves)
			}
			synctest.Wait()
		}
	})
}

// A store that does not take an artifact for longer than retryTime gets a second try, and no third.
func TestRetryAfterSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			waited time.Duration
			want   int
		}{{time.Hour, 2}, {time.Second, int(retryTime / stallTimeout)}} {
			tries := 0
			err := retry(t.Context(), func() error {
				tries++
				time.Sleep(max(test.waited, stallTimeout))
				return &unstoredError{errStalled, test.waited}
			}, func(error) {})
			if tries != test.want || !errors.Is(err, errStalled) {
				t.Errorf("waited %v: got error %v after %d tries, want %d", test.waited, err, tries, test.want)
			}
		}
	})
}

// What goes on failing is told again, but not at each try.
func TestRetryTellsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Time
		start, tries := time.Now(), 0
		err := retry(t.Context(), func() error {
			tries++
			return status.Error(codes.ResourceExhausted, "no space left")
		}, func(error) { told = append(told, time.Now()) })
		if status.Code(err) != codes.ResourceExhausted || len(told) < 3 || tries <= len(told) || !told[0].Equal(start) {
			t.Fatalf("got error %v after %d tries, told at %v, want the first and some of the others", err, tries, told)
		}
		for i := range told[1:] {
			if gap := told[i+1].Sub(told[i]); gap < repeatWarning || gap > 2*repeatWarning {
				t.Errorf("told after %v, want about %v", gap, repeatWarning)
			}
		}
	})
}
