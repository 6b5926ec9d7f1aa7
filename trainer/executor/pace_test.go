package executor

import (
	"math/rand/v2"
	"testing"
	"time"
)

// paced runs so many batches, each of which takes what a tile of it does on one goroutine or on several, and counts the
// latter.
func paced(p *pace, batches int, alone, shared func() time.Duration) (several int) {
	for range batches {
		members, took := 1, alone
		if p.shared() {
			members, took = 3, shared
			several++
		}
		p.observe(members, 16, 16*took())
	}
	return several
}

// settled is after how many batches a change is noticed, however long there was none.
const settled = 1000

func always(took time.Duration) func() time.Duration { return func() time.Duration { return took } }

// The faster way gets almost all batches, and the other one is soon found out to be faster when it is.
func TestPace(t *testing.T) {
	var p pace
	if got := paced(&p, 1000, always(10), always(6)); got < 950 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which is faster", got)
	}
	paced(&p, settled, always(10), always(30))
	if got := paced(&p, 1000, always(10), always(30)); got > 50 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which is slower", got)
	}
	// However long that was so, it is tried again.
	paced(&p, 20*settled, always(10), always(30))
	paced(&p, settled, always(10), always(6))
	if got := paced(&p, 1000, always(10), always(6)); got < 950 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which is faster again", got)
	}
	// Neither costs much, however far they are apart.
	for _, several := range []time.Duration{10, 600} {
		p = pace{}
		var took, least time.Duration
		for range 5000 {
			its := time.Duration(80)
			if p.shared() {
				its = several
				p.observe(8, 16, 16*its)
			} else {
				p.observe(1, 16, 16*its)
			}
			took, least = took+its, least+min(80, several)
		}
		if took > least*105/100 {
			t.Errorf("batches of %v where others take 80: %.3f times the least", several, float64(took)/float64(least))
		}
	}
	// What is hardly faster is left.
	p = pace{}
	if got := paced(&p, 1000, always(100), always(95)); got > 150 {
		t.Errorf("%d of 1000 batches are run on several goroutines, for a twentieth", got)
	}
}

// Most batches are faster on several goroutines, but some have to wait for one that has lost its processor, so that all
// of them together are slower.
func TestPaceOfMeans(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var p pace
	got := paced(&p, 20_000, always(100), func() time.Duration {
		if random.IntN(4) == 0 {
			return 400
		}
		return 60
	})
	if got > 5_000 {
		t.Errorf("%d of 20,000 batches are run on several goroutines, which is slower on average: seed %d", got, seed)
	}
}

// A comparison in which a batch was interrupted is not the last word for long.
func TestPaceInterrupted(t *testing.T) {
	var p pace
	first := true
	several := paced(&p, 1000, always(10), func() time.Duration {
		if first {
			first = false
			return 10_000
		}
		return 6
	})
	if several < 700 {
		t.Errorf("%d of 1000 batches are run on several goroutines, which was slower once", several)
	}
}

// Batches that have no goroutine but one, though they should, say nothing of several.
func TestPaceWithoutMembers(t *testing.T) {
	var p pace
	for range 1000 {
		p.shared()
		p.observe(1, 16, 16*10)
	}
	if got := paced(&p, 1000, always(10), always(6)); got < 900 {
		t.Errorf("%d of 1000 batches are run on several goroutines, once there are some", got)
	}
}
