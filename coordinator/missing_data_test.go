package coordinator

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// countingHandler counts the messages that are logged.
type countingHandler struct {
	slog.Handler
	mu     sync.Mutex
	counts map[string]int
}

func newCountingHandler() *countingHandler {
	return &countingHandler{Handler: slog.DiscardHandler, counts: map[string]int{}}
}

func (*countingHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h *countingHandler) WithGroup(string) slog.Handler          { return h }

func (h *countingHandler) Handle(_ context.Context, record slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[record.Message]++
	return nil
}

func (h *countingHandler) count(message string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[message]
}

var changed = &trellisv1.WaitingFor{
	Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED, Found: tinySHA256,
}

// What a coordinator that is restarted over changed data says, once, at its start. No run is given to a worker, and none
// fails, before the data is what it was.
func TestAStudyWaitsForItsDataSet(t *testing.T) {
	logs := newCountingHandler()
	serve(t, Config{Logger: slog.New(logs)}, func(h *harness) {
		spec := imageSpec("data", "conv-autoencoder", 4)
		h.create(spec)
		h.missing.Store(changed)
		restart := func() {
			t.Helper()
			if err := h.whilePaused(h.ctx, errLeaderChanged, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		restart()
		const said = "the study waits: its data set has changed; restore the files that it was created with, or cancel it"
		if n := logs.count(said); n != 1 {
			t.Errorf("at its start the coordinator has said so %d times", n)
		}
		if why := h.study("data").GetWaitingFor(); why.GetFound() != tinySHA256 {
			t.Errorf("the study waits for %v", why)
		}
		w := h.connect("w", 1)
		<-time.After(time.Minute) // The clock is synctest's.
		if study := h.study("data"); study.GetProgress().GetRunsRunning() != 0 || logs.count(said) != 1 {
			t.Errorf("after a minute: %v, said %d times", study, logs.count(said))
		}
		listed, err := h.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{})
		if err != nil || listed.GetStudies()[0].GetWaitingFor() == nil {
			t.Errorf("listed are %v, %v", listed, err)
		}
		h.missing.Store(nil)
		<-time.After(5 * time.Second)
		w.assignment()
		if study := h.study("data"); study.GetWaitingFor() != nil {
			t.Errorf("it still waits: %v", study)
		}
	})
}

// A run whose data set is not served any more is handed back, and given to nobody until it is again. Whoever watches the
// study is told.
func TestADataSetThatIsLost(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(imageSpec("data", "conv-autoencoder", 4))
		watch, err := h.studies.WatchStudy(h.Context(), &trellisv1.WatchStudyRequest{Study: "data"})
		if err != nil {
			t.Fatal(err)
		}
		told := func(waits bool) {
			t.Helper()
			for {
				response, err := watch.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if (response.GetStudy().GetWaitingFor() != nil) == waits {
					return
				}
			}
		}
		told(false)
		w := h.connect("w", 1)
		a := w.assignment()
		h.missing.Store(changed)
		lost := time.Now()
		_, err = h.dataSets.GetDataSet(h.Context(), &trellisv1.GetDataSetRequest{Digest: tinyDigest})
		wantCode(t, err, codes.FailedPrecondition, "has changed since")
		told(true)
		if took := time.Since(lost); took > time.Second {
			t.Errorf("it took %v until the study waited", took)
		}
		w.outcome(&trellisv1.Outcome{
			Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
		})
		<-time.After(time.Minute) // The clock is synctest's.
		if study := h.study("data"); study.GetProgress().GetRunsRunning() != 0 || study.GetWaitingFor() == nil {
			t.Errorf("after a minute: %v", study)
		}
		h.missing.Store(nil)
		told(false)
		w.acknowledged(a.GetAttempt(), 0, true)
		again := w.assignment()
		run, err := h.store.Snapshot().Run(nil, "data", again.GetRun())
		if err != nil || run.GetFailures() != nil {
			t.Errorf("the run is %v, %v", run, err)
		}
	})
}

// A file whose change shows only when it is read is reported as changed, and its study waits until it is restored.
func TestADataFileThatChangesUnnoticed(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(imageSpec("data", "conv-autoencoder", 4))
		h.damage.Store(changed)
		stream, err := h.dataSets.DownloadDataFile(h.Context(),
			&trellisv1.DownloadDataFileRequest{Digest: tinyDigest, Sha256: tinySHA256})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantCode(t, err, codes.FailedPrecondition, "it has another content")
		for range 2 {
			if why := h.study("data").GetWaitingFor(); why.GetReason() != changed.GetReason() ||
				why.GetFound() != tinySHA256 {
				t.Errorf("the study waits for %v", why)
			}
			<-time.After(time.Minute) // The clock is synctest's.
		}
	})
}

// A study whose pretrained weights are gone, or are damaged, waits for them: none of its runs is given to a worker or
// fails, before they can be had again.
func TestAStudyWaitsForItsWeights(t *testing.T) {
	for name, fail := range map[string]struct {
		what string
		err  error
	}{
		"gone": {"get", artifact.ErrNotFound}, "damaged": {"read", artifact.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			servePretrained(t, func(h *harness, store *artifacttest.Store) {
				w := h.trainPaper()
				h.create(classifierSpec("next", &trellisv1.Pretrained{Study: "paper"}))
				a := w.assignment()
				store.Fail(fail.what, fail.err)
				digest := a.GetConfig().GetPretrained()
				if _, err := artifacttest.Download(h.Context(), h.served, digest); err == nil {
					t.Fatal("they were served")
				}
				w.outcome(&trellisv1.Outcome{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
					Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
				})
				<-time.After(time.Minute) // The clock is synctest's.
				study := h.study("next")
				if why := study.GetWaitingFor(); study.GetProgress().GetRunsRunning() != 0 ||
					why.GetReason() != trellisv1.WaitingReason_WAITING_REASON_WEIGHTS_MISSING ||
					!strings.Contains(why.GetMessage(), fail.err.Error()) {
					t.Errorf("after a minute: %v", study)
				}
				store.Fail(fail.what, nil)
				w.acknowledged(a.GetAttempt(), 0, true)
				again := w.assignment()
				run, err := h.store.Snapshot().Run(nil, "next", again.GetRun())
				if err != nil || run.GetFailures() != nil || h.study("next").GetWaitingFor() != nil {
					t.Errorf("the run is %v, %v", run, err)
				}
			})
		})
	}
}
