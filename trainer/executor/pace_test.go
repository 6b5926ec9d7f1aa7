package executor

import (
	"testing"
	"time"
)

// The faster way gets almost all batches, and the other one is soon found out to be faster when it is.
func TestPace(t *testing.T) {
	var p pace
	// count runs batches that take so long a tile on one goroutine and on several, and counts the latter.
	count := func(batches int, alone, shared time.Duration) (several int) {
		for range batches {
			members, took := 1, alone
			if p.shared() {
				members, took = 3, shared
				several++
			}
			p.observe(members, 16, 16*took)
		}
		return several
	}
	if got := count(retry-1, 10, 6); got != retry-1 {
		t.Errorf("%d of the first %d batches are run on several goroutines", got, retry-1)
	}
	if got := count(1000, 10, 6); got < 950 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which is faster", got)
	}
	// A batch that is interrupted does not change that.
	p.observe(3, 16, 16*1000)
	if !p.shared() {
		t.Error("a batch on several goroutines that was interrupted makes the next one run on one")
	}
	count(10*retry, 10, 30)
	if got := count(1000, 10, 30); got > 10 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which is slower", got)
	}
	// However long that was so, it is tried again.
	count(20*maxRetry, 10, 30)
	count(2*maxRetry, 10, 6)
	if got := count(1000, 10, 6); got < 950 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which is faster again", got)
	}
	// If it is slower for a short time only, it is soon tried again.
	count(retry/2, 10, 30)
	count(2*retry, 10, 6)
	if got := count(100, 10, 6); got < 90 {
		t.Errorf("%d of 100 batches are run on several goroutines, which was slower for a short time", got)
	}
}
