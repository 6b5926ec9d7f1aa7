package cluster

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPaces(t *testing.T) {
	for name, test := range map[string]struct {
		pace pace
		want map[uint64]int
	}{
		"worker": {workerPace, map[uint64]int{
			0: 800, 8 << 20: 800, 9 << 20: 600, 16 << 20: 400, 17 << 20: 50, 32 << 20: 50, 33 << 20: 20, 1 << 40: 20,
		}},
		"coordinator": {coordinatorPace, map[uint64]int{
			0: 800, 16 << 20: 800, 20 << 20: 600, 32 << 20: 400, 64 << 20: 200, 65 << 20: 100, 245 << 20: 100, 246 << 20: 90, 270 << 20: 80, 300 << 20: 60,
			360 << 20: 30, 400 << 20: 20, 490 << 20: 20,
			1 << 40: 20,
		}},
	} {
		for live, want := range test.want {
			if got := test.pace(live); got != want {
				t.Errorf("%s with %d bytes in use: %d, want %d", name, live, got, want)
			}
		}
	}
}

// The collector's pace follows the heap up and down.
func TestKeepHeapSmall(t *testing.T) {
	t.Setenv("GOGC", "")
	standard := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(standard) })
	keepHeapSmall(workerPace)
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
