package cluster

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for _, test := range []struct {
		live uint64
		want int
	}{{0, 400}, {4 << 20, 400}, {5 << 20, 200}, {16 << 20, 100}, {32 << 20, 50}, {33 << 20, 20}, {1 << 40, 20}} {
		if got := gcPercent(test.live); got != test.want {
			t.Errorf("%d bytes in use: %d, want %d", test.live, got, test.want)
		}
	}
}

// The collector's pace follows the heap up and down.
func TestKeepHeapSmall(t *testing.T) {
	t.Setenv("GOGC", "")
	standard := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(standard) })
	keepHeapSmall()
	pace := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	await := func(what string, right func(percent int) bool) {
		deadline := time.Now().Add(time.Minute)
		for {
			runtime.GC()
			metrics.Read(pace)
			percent := int(pace[0].Value.Uint64())
			if right(percent) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: the collector's pace is %d", what, percent)
			}
		}
	}
	images := make([]byte, 64<<20)
	await("a large heap", func(percent int) bool { return percent == 20 })
	runtime.KeepAlive(images)
	images = nil
	await("a small heap", func(percent int) bool { return percent > 20 })
}
