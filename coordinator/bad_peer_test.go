package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
