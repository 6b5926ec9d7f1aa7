package quota

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestTurnsAreBoundedAndShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &Turns{
			What: "reports", Limit: "costly-requests", Running: 2, RunningEach: 1, Queue: 5, QueueEach: 3,
		}
		var mu sync.Mutex
		var order []string
		begun := make(chan struct{})
		request := func(who string) {
			go func() {
				release, err := turns.Take(t.Context(), who)
				if err != nil {
					t.Errorf("%s: %v", who, err)
					return
				}
				mu.Lock()
				order = append(order, who)
				mu.Unlock()
				begun <- struct{}{}
				<-time.After(time.Second) // The clock is synctest's.
				release()
			}()
			synctest.Wait()
		}
		for range 4 {
			request("many")
		}
		_, err := turns.Take(t.Context(), "many")
		wantCode(t, err, codes.ResourceExhausted,
			"for one caller, this coordinator serves at most 1 reports at a time (limit costly-requests-each), and 3 "+
				"more")
		request("few")
		request("few")
		request("one")
		_, err = turns.Take(t.Context(), "other")
		wantCode(t, err, codes.ResourceExhausted,
			"this coordinator serves at most 2 reports at a time (limit costly-requests), and 5 more are waiting")
		for range 7 {
			<-begun
		}
		// Each caller has one turn at a time, and those with few requests don't wait for those with many.
		mu.Lock()
		defer mu.Unlock()
		want := []string{"many", "few", "one", "many", "few", "many", "many"}
		for _, who := range []string{"one", "few"} {
			if last := lastOf(order, who); last > 4 {
				t.Errorf("the turns are %v: %s had its last as late as %d, want about %v", order, who, last, want)
			}
		}
		<-time.After(time.Minute)
		synctest.Wait()
		turns.mu.Lock()
		defer turns.mu.Unlock()
		if turns.active != 0 || turns.waiting != 0 || len(turns.callers) != 0 || len(turns.order) != 0 {
			t.Errorf("%d run and %d wait of %v after all have ended", turns.active, turns.waiting, turns.callers)
		}
	})
}

func lastOf(order []string, who string) (last int) {
	for i, other := range order {
		if other == who {
			last = i
		}
	}
	return last
}

func TestWhoGivesUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &Turns{Running: 1, RunningEach: 1, Queue: 2, QueueEach: 2}
		release, err := turns.Take(t.Context(), "first")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, who := range []string{"first", "second"} {
			go func() {
				_, err := turns.Take(ctx, who)
				wantCode(t, err, codes.DeadlineExceeded, "")
			}()
		}
		<-time.After(2 * time.Second) // The clock is synctest's.
		synctest.Wait()
		if turns.waiting != 0 || len(turns.order) != 0 || len(turns.callers) != 1 {
			t.Errorf("%d wait of %v", turns.waiting, turns.callers)
		}
		release()
		if release, err = turns.Take(t.Context(), "third"); err != nil {
			t.Fatal(err)
		}
		release()
	})
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("error %v, want %v with %q", err, code, text)
	}
}
