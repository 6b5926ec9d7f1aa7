package worker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// served is a data set of 50 + 10 images, as the coordinator of the tests serves it.
type served struct {
	description *trellisv1.DataSet
	contents    map[string][]byte

	mu sync.Mutex
	// asked counts the calls by what they asked for: the empty string for the description, or a file's name.
	asked map[string]int
	// fail, if set, may answer a call with an error. A download has sent half of the file by then.
	fail func(what string, times int) error
	// pace is how long each hundred bytes of a file take.
	pace time.Duration
}

// serve serves images of 4 x 3 pixels.
func serve(h *harness) *served { return serveImages(h, 4, 3) }

func serveImages(h *harness, height, width int) *served {
	s := &served{contents: map[string][]byte{}, asked: map[string]int{}}
	var files []dataset.File
	s.description = &trellisv1.DataSet{Name: "tiny", Height: uint32(height), Width: uint32(width), TrainImages: 50, TestImages: 10}
	for i, name := range dataset.FileNames {
		count := []int{50, 50, 10, 10}[i]
		var content []byte
		if i%2 == 0 {
			for _, v := range []int{0x803, count, height, width} {
				content = binary.BigEndian.AppendUint32(content, uint32(v))
			}
			for p := range count * height * width {
				content = append(content, byte(p))
			}
		} else {
			for _, v := range []int{0x801, count} {
				content = binary.BigEndian.AppendUint32(content, uint32(v))
			}
			for p := range count {
				content = append(content, byte(p%10))
			}
		}
		sum := sha256.Sum256(content)
		file := dataset.File{Name: name, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
		files = append(files, file)
		s.contents[file.SHA256] = content
		s.description.Files = append(s.description.Files,
			&trellisv1.DataFile{Name: name, Sha256: file.SHA256, Size: uint64(file.Size)})
	}
	s.description.Digest = dataset.Digest(files)
	h.coordinator.dataSet, h.coordinator.download = s.describe, s.download
	return s
}

func (s *served) count(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[what]++
	if s.fail == nil {
		return nil
	}
	return s.fail(what, s.asked[what])
}

func (s *served) describe(digest string) (*trellisv1.DataSet, error) {
	if err := s.count(""); err != nil {
		return nil, err
	}
	if digest != s.description.GetDigest() {
		return nil, status.Errorf(codes.NotFound, "no study uses a data set with the digest %s", digest)
	}
	return s.description, nil
}

func (s *served) download(sha256 string, stream trellisv1.DataSetService_DownloadDataFileServer) error {
	name := ""
	for _, f := range s.description.GetFiles() {
		if f.GetSha256() == sha256 {
			name = f.GetName()
		}
	}
	err := s.count(name)
	content := s.contents[sha256]
	for len(content) > 0 {
		select {
		case <-time.After(s.pace):
		case <-stream.Context().Done():
		}
		n := min(len(content), 100)
		if err := stream.Send(&trellisv1.DownloadDataFileResponse{Data: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
		if err != nil && len(content) < len(s.contents[sha256])/2 {
			return err
		}
	}
	return err
}

// times is how often each of the calls came, the description first.
func (s *served) times() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := []int{s.asked[""]}
	for _, name := range dataset.FileNames {
		times = append(times, s.asked[name])
	}
	return fmt.Sprint(times)
}

func (s *served) assignment(attempt uint64) *trellisv1.Assignment {
	a := synthetic(attempt, fmt.Sprint("run", attempt), 1)
	a.Config.Model = trainer.ConvAutoencoder
	a.Config.DataSet = s.description.GetDigest()
	a.Config.Split = &trellisv1.Split{Train: 30, Validation: 20}
	return a
}

// onData replaces training by a look at the data.
func onData(look func(dataset.Split)) func(*harness, *Config) {
	return func(_ *harness, c *Config) {
		c.train = func(_ context.Context, c trainer.Config, _ func(trainer.Report) error) (trainer.Result, error) {
			look(c.Data)
			return trainer.Result{StopReason: trainer.MaxEpochs, Epochs: 1}, nil
		}
	}
}

func TestDataIsFetchedOnce(t *testing.T) {
	splits := make(chan dataset.Split, 10)
	inBubble(t, onData(func(s dataset.Split) { splits <- s }), func(h *harness) {
		s := serve(h)
		p := h.connect()
		p.assign(s.assignment(1))
		p.assign(s.assignment(2))
		for range 2 {
			outcome := p.next().GetOutcome()
			if outcome.GetSuccess() == nil {
				t.Errorf("outcome is %v", outcome)
			}
			p.acknowledgeOutcome(outcome.GetAttempt())
		}
		p.assign(s.assignment(3))
		p.outcome(3)
		if got := s.times(); got != "[1 1 1 1 1]" {
			t.Errorf("description and files were asked for %s times, want each once", got)
		}
		pixels := s.contents[s.description.Files[0].Sha256][16:]
		var first *byte
		for range 3 {
			split := <-splits
			if split.Train.Len() != 30 || split.Validation.Len() != 20 || split.Test.Len() != 10 || split.Height != 4 ||
				split.Width != 3 || !bytes.Equal(split.Train.Pixels, pixels[:30*12]) ||
				!bytes.Equal(split.Validation.Pixels, pixels[30*12:]) {
				t.Errorf("got %d, %d and %d images of %d x %d, or the wrong ones", split.Train.Len(), split.Validation.Len(),
					split.Test.Len(), split.Height, split.Width)
			}
			if first == nil {
				first = &split.Train.Pixels[0]
			}
			if first != &split.Train.Pixels[0] {
				t.Error("slots have copies of their own")
			}
		}
	})
}

// A download goes on where a lost connection left it, as far as whole files go.
func TestDataAfterLostStream(t *testing.T) {
	inBubble(t, onData(func(dataset.Split) {}), func(h *harness) {
		s := serve(h)
		half := make(chan struct{})
		s.fail = func(what string, times int) error {
			if what == dataset.FileNames[2] && times == 1 {
				close(half)
				return status.Error(codes.Unavailable, "restarting")
			}
			return nil
		}
		p := h.connect()
		p.assign(s.assignment(1))
		<-half
		h.leave()
		time.Sleep(time.Minute)
		h.comeBack()
		p = h.connect(1)
		if outcome := p.outcome(1); outcome.GetSuccess() == nil {
			t.Errorf("outcome is %v", outcome)
		}
		if got := s.times(); got != "[2 1 1 2 1]" {
			t.Errorf("description and files were asked for %s times, want what was complete once", got)
		}
	})
}

func TestDataErrors(t *testing.T) {
	const handedBack = "handed back"
	always := func(code codes.Code, message string) func(string, int) error {
		return func(string, int) error { return status.Error(code, message) }
	}
	for _, test := range []struct {
		name  string
		alter func(*served, *trellisv1.Assignment)
		// failure is in the message, empty for success, and handedBack if it is none. tries is how often the description was asked for.
		failure string
		tries   int
		// class is of a failure. Default: the trainer's.
		class trellisv1.FailureClass
	}{
		{"unavailable for a while", func(s *served, _ *trellisv1.Assignment) {
			s.fail = func(what string, times int) error {
				if times == 1 {
					return status.Error(codes.Unavailable, "busy")
				}
				return nil
			}
		}, "", 1 + len(dataset.FileNames) + 1, 0},
		{"unavailable for good", func(s *served, _ *trellisv1.Assignment) {
			s.fail = always(codes.Unavailable, "no leader")
		}, " tries: ask the coordinator for its files: no leader", 0, 0},
		{"unknown", func(s *served, a *trellisv1.Assignment) {
			a.Config.DataSet = strings.Repeat("0", 64)
		}, "no study uses a data set with the digest 0000", 1, 0},
		{"changed", func(s *served, _ *trellisv1.Assignment) {
			s.fail = always(codes.FailedPrecondition, "has changed since")
		}, handedBack, 1, 0},
		{"changed meanwhile", func(s *served, _ *trellisv1.Assignment) {
			s.fail = func(what string, _ int) error {
				if what == dataset.FileNames[2] {
					return status.Error(codes.FailedPrecondition, "has changed since")
				}
				return nil
			}
		}, handedBack, 1, 0},
		{"damaged", func(s *served, _ *trellisv1.Assignment) {
			s.contents[s.description.Files[1].Sha256][20]++
		}, ", this content has ", 1, 0},
		{"another data set's files", func(s *served, _ *trellisv1.Assignment) {
			s.description.Files[0], s.description.Files[2] = s.description.Files[2], s.description.Files[0]
			s.description.Files[0].Name, s.description.Files[2].Name = dataset.FileNames[0], dataset.FileNames[2]
		}, "the digest of these files is ", 1, 0},
		{"path instead of a digest", func(s *served, _ *trellisv1.Assignment) {
			s.description.Files[0].Sha256 = "../../etc/passwd"
		}, "which is none", 1, 0},
		{"split too large", func(_ *served, a *trellisv1.Assignment) {
			a.Config.Split.Train = 31
		}, dataset.ErrSplit.Error(), 1, trellisv1.FailureClass_FAILURE_CLASS_INPUT},
		{"too large for any worker", func(s *served, a *trellisv1.Assignment) {
			s.description.Files[0].Size = dataset.DefaultMaxBytes
		}, dataset.ErrTooLarge.Error(), 1, trellisv1.FailureClass_FAILURE_CLASS_INPUT},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, onData(func(dataset.Split) {}), func(h *harness) {
				s := serve(h)
				p := h.connect()
				assignment := s.assignment(1)
				test.alter(s, assignment)
				p.assign(assignment)
				outcome := p.outcome(1)
				switch failure := outcome.GetFailure(); {
				case test.failure == "":
					if outcome.GetSuccess() == nil {
						t.Errorf("outcome is %v, want success", outcome)
					}
				case test.failure == handedBack:
					if outcome.GetReturn() == nil {
						t.Errorf("outcome is %v, want it handed back", outcome)
					}
				case failure.GetClass() != cmp.Or(test.class, trellisv1.FailureClass_FAILURE_CLASS_TRAINER) ||
					!strings.Contains(failure.GetMessage(), test.failure):
					t.Errorf("outcome is %v, want failure with %q", outcome, test.failure)
				}
				if s.asked[""] != test.tries && test.tries != 0 {
					t.Errorf("the description was asked for %d times, want %d", s.asked[""], test.tries)
				}
			})
		})
	}
}

// What an attempt waits for does not keep it from being stopped, and is not lost for the next.
func TestStopDuringDownload(t *testing.T) {
	inBubble(t, onData(func(dataset.Split) {}), func(h *harness) {
		s := serve(h)
		goOn := make(chan struct{})
		s.fail = func(string, int) error { <-goOn; return nil }
		p := h.connect()
		p.assign(s.assignment(1))
		p.assign(s.assignment(2))
		synctest.Wait()
		p.stop(1)
		p.stop(2)
		p.assign(s.assignment(3))
		synctest.Wait()
		if n := len(h.worker.slots); n != 1 {
			t.Errorf("%d slots are taken, want 1", n)
		}
		close(goOn)
		if outcome := p.outcome(3); outcome.GetSuccess() == nil {
			t.Errorf("outcome is %v", outcome)
		}
		if got := s.times(); got != "[1 1 1 1 1]" {
			t.Errorf("description and files were asked for %s times, want each once", got)
		}
	})
}

// Without steps, a run that waits for a large data set would be taken for hung.
func TestDownloadCountsAsSteps(t *testing.T) {
	inBubble(t, onData(func(dataset.Split) {}), func(h *harness) {
		s := serve(h)
		s.pace = time.Second
		p := h.session()
		p.welcomeAs(&trellisv1.Welcome{HeartbeatMilliseconds: 1500, LeaseMilliseconds: 6000})
		p.assign(s.assignment(1))
		p.assign(s.assignment(2))
		steps := map[uint64]uint64{}
		for range 4 {
			for _, attempt := range p.next().GetHeartbeat().GetAttempts() {
				number := attempt.GetAttempt()
				if attempt.GetSteps() <= steps[number] {
					t.Errorf("attempt %d has made %d steps, after %d before", number, attempt.GetSteps(), steps[number])
				}
				steps[number] = attempt.GetSteps()
			}
		}
		if len(steps) != 2 {
			t.Errorf("heartbeats name attempts %v, want 1 and 2", steps)
		}
	})
}

// Run ends all downloads.
func TestCancelDuringDownload(t *testing.T) {
	inBubble(t, onData(func(dataset.Split) {}), func(h *harness) {
		s := serve(h)
		goOn := make(chan struct{})
		defer close(goOn)
		s.fail = func(string, int) error { <-goOn; return nil }
		p := h.connect()
		p.assign(s.assignment(1))
		synctest.Wait()
		h.stop(nil)
		start := time.Now()
		h.returned()
		if took := time.Since(start); took > 0 {
			t.Errorf("Run took %v to return", took)
		}
	})
}

func TestDataSets(t *testing.T) {
	ctx := context.Background()
	newSets := func(fetch func(digest string) (*dataset.Data, error)) (*shared[string, *dataset.Data], *[]string) {
		var fetched []string
		d := newShared(ctx, slog.New(slog.DiscardHandler), "data_set", func(_ context.Context, digest string, _ func()) (*dataset.Data, error) {
			fetched = append(fetched, digest)
			return fetch(digest)
		})
		return d, &fetched
	}
	t.Run("few are kept", func(t *testing.T) {
		d, fetched := newSets(func(digest string) (*dataset.Data, error) { return &dataset.Data{Digest: digest}, nil })
		for _, digest := range []string{"a", "b", "c", "d", "a", "e", "b", "a"} {
			if data, err := d.get(ctx, digest, new(atomic.Uint64)); err != nil || data.Digest != digest {
				t.Errorf("got %v and %v, want %s", data, err, digest)
			}
		}
		d.close()
		if got := strings.Join(*fetched, " "); got != "a b c d e a" {
			t.Errorf("fetched %s", got)
		}
		if len(d.entries) != maxShared {
			t.Errorf("%d are kept, want %d", len(d.entries), maxShared)
		}
	})
	t.Run("an error is not kept", func(t *testing.T) {
		fail := true
		d, fetched := newSets(func(digest string) (*dataset.Data, error) {
			if fail {
				return nil, dataset.ErrInvalid
			}
			return &dataset.Data{}, nil
		})
		if _, err := d.get(ctx, "a", new(atomic.Uint64)); err == nil {
			t.Error("got no error")
		}
		fail = false
		if _, err := d.get(ctx, "a", new(atomic.Uint64)); err != nil {
			t.Errorf("got %v", err)
		}
		d.close()
		if len(*fetched) != 2 {
			t.Errorf("fetched %s", *fetched)
		}
	})
}
