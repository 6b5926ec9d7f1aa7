package capacity

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestGPUsBelongToOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := NewGPUs([]*trellisv1.Gpu{{Id: "a"}, {Id: "b"}, {Id: "c"}})
		ctx := context.Background()
		first, give, err := all.Take(ctx, 2)
		if err != nil || !slices.Equal(first, []string{"a", "b"}) {
			t.Fatalf("got %v, %v", first, err)
		}
		began := time.Now()
		time.AfterFunc(time.Second, give)
		second, _, err := all.Take(ctx, 2)
		if err != nil || time.Since(began) != time.Second || !slices.Equal(second, []string{"c", "a"}) {
			t.Errorf("got %v, %v after %v", second, err, time.Since(began))
		}
		errDraining := errors.New("the worker is draining")
		stopped, stop := context.WithCancelCause(ctx)
		stop(errDraining)
		if got, _, err := all.Take(stopped, 2); !errors.Is(err, errDraining) {
			t.Errorf("got %v, %v of a worker that drains", got, err)
		}
		if got, _, err := all.Take(ctx, 4); !errors.Is(err, ErrGPUs) {
			t.Errorf("got %v, %v of 3", got, err)
		}
	})
}
