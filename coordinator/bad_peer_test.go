package coordinator

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestASessionThatSaysNothingIsEnded(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		ctx, cancel := context.WithTimeout(h.Context(), time.Hour)
		defer cancel()
		stream, err := h.workers.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = stream.Recv()
		if status.Code(err) != codes.DeadlineExceeded || time.Since(start) != helloTimeout {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestASessionThatSaysNothingDoesNotHoldUpShutdown(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		stream, err := h.workers.Session(h.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		h.stop()
		if took := time.Since(start); took >= shutdownGrace {
			t.Fatalf("stopping took %v", took)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
	})
}

func TestAWorkerThatReadsNothingIsLetGo(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		worker := h.connect("deaf", 1024)
		worker.silence()
		latent := make([]uint32, 700)
		for i := range latent {
			latent[i] = uint32(i + 1)
		}
		// So many assignments that they don't fit between the two ends.
		h.create(syntheticSpec("large", latent, []uint32{1}))
		synctest.Wait()
		if held := h.worker("deaf").GetRuns(); held != 700 {
			t.Fatalf("the worker holds %d runs", held)
		}
		<-time.After(2 * DefaultLease) // The clock is synctest's.
		if state := h.worker("deaf").GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
			t.Fatalf("the worker is %v", state)
		}
		if h.sessions.connected("deaf") {
			t.Fatal("the session of a lost worker that reads nothing goes on")
		}
	})
}

func TestAcknowledgementsThatNobodyTakesAreBounded(t *testing.T) {
	var cause error
	session := newSessions().open(t.Context(), "worker", func(err error) { cause = err })
	for attempt := range uint64(2 * maxAcks) {
		session.acknowledge(&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
			Reports: &trellisv1.Reports{Study: fmt.Sprint("study-", attempt), Attempt: attempt, FirstEpoch: 1},
		}})
	}
	if acks, _ := session.take(); len(acks) != maxAcks {
		t.Error("acknowledgements pile up")
	}
	if status.Code(cause) != codes.ResourceExhausted {
		t.Errorf("the session ends with %v", cause)
	}
}
