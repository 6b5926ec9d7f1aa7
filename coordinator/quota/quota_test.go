package quota

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestTakeRefusesBeyondTheLimitsAndNamesThem(t *testing.T) {
	q := New(Limit{Name: "uploads", Noun: "uploads", Help: "retry later", InAll: 5, Each: 3})
	for range 3 {
		if err := q.Take("a", 1); err != nil {
			t.Fatal(err)
		}
	}
	err := q.Take("a", 1)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "limit uploads-each=3: retry") {
		t.Errorf("beyond its share: %v", err)
	}
	if err := q.Take("b", 2); err != nil {
		t.Fatal(err)
	}
	var exceeded *Exceeded
	if err := q.Take("c", 1); !errors.As(err, &exceeded) || exceeded.Each || exceeded.Held != 5 ||
		!strings.Contains(err.Error(), "limit uploads=5") {
		t.Errorf("beyond the whole: %v", err)
	}
	q.Give("a", 3)
	if err := q.Take("a", 2); err != nil {
		t.Errorf("after it gave back what it had: %v", err)
	}
	if held := q.Held(); held != 4 {
		t.Errorf("%d are held, want 4", held)
	}
}

func TestAwaitWaitsForRoomAndLetsOneThatIsTooLargeGoAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(Limit{Name: "bytes", InAll: 10, Each: 5})
		if err := q.Await(t.Context(), "large", 20); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- q.Await(t.Context(), "small", 1) }()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("it did not wait for room: %v", err)
		default:
		}
		q.Give("large", 20)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { got <- q.Await(ctx, "small", 5) }()
		synctest.Wait()
		if err := q.Await(t.Context(), "other", 5); err != nil {
			t.Errorf("one that waits for its own share holds up others: %v", err)
		}
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("after it gave up: %v", err)
		}
		if held := q.Held(); held != 6 {
			t.Errorf("%d are held, want 6", held)
		}
	})
}
