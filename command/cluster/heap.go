package cluster

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// heapRoom is how much a worker's heap may grow beyond what is in use before the collector runs, in bytes. A large heap
// may grow by a fifth.
const heapRoom = 16 << 20

// keepHeapSmall makes the collector run when the heap has grown by heapRoom or by a fifth, unless GOGC says otherwise.
// Most of a worker's heap is images, which stay; training allocates next to nothing, so that the collector has little
// to do. By default, it would let the heap grow to twice the images before it looked. And a worker without images,
// whose heap is small, would spend half of its time collecting if it looked whenever a fifth was added.
func keepHeapSmall() {
	if os.Getenv("GOGC") == "" {
		followHeap(0)
	}
}

// followHeap sets the collector's pace by what is in use, now and after every collection.
func followHeap(before int) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	percent := gcPercent(sample[0].Value.Uint64())
	// Setting it stops all goroutines for a moment.
	if percent != before {
		debug.SetGCPercent(percent)
	}
	// The next collection finds that nobody refers to this.
	runtime.AddCleanup(new([2]*int), followHeap, percent)
}

// gcPercent is what GOGC is to be when so many bytes are in use: in a few steps, so that it seldom changes.
func gcPercent(live uint64) int {
	for _, percent := range []int{400, 200, 100, 50} {
		if live*uint64(percent)/100 <= heapRoom {
			return percent
		}
	}
	return 20
}
