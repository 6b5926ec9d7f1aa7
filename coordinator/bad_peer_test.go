package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/api"
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
		if status.Code(err) != codes.DeadlineExceeded || time.Since(start) != api.HelloTimeout {
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
		if h.leader.Connected() > 0 {
			t.Fatal("the session of a lost worker that reads nothing goes on")
		}
	})
}
