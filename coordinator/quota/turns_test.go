package quota

import (
	"context"
	"slices"
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
		requests := 0
		request := func(who string) {
			requests++
			// No two end at the same moment.
			lasts := time.Second + time.Duration(requests)*time.Millisecond
			go func() {
				release, err := turns.Take(t.Context(), who)
				if err != nil {
					t.Errorf("%s: %v", who, err)
					return
				}
				mu.Lock()
				order = append(order, who)
				mu.Unlock()
				<-time.After(lasts) // The clock is synctest's.
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
		<-time.After(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		// Each caller has one turn at a time, and those with few requests don't wait for those with many.
		want := []string{"many", "few", "many", "few", "one", "many", "many"}
		if !slices.Equal(order, want) {
			t.Errorf("the turns are %v, want %v", order, want)
		}
		turns.mu.Lock()
		defer turns.mu.Unlock()
		if turns.active != 0 || turns.waiting != 0 || len(turns.callers) != 0 || len(turns.order) != 0 {
			t.Errorf("%d run and %d wait of %v after all have ended", turns.active, turns.waiting, turns.callers)
		}
	})
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
