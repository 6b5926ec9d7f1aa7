package cluster

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector runs by default when the heap has grown to twice what was in use after it ran last. Of a large heap,
// that is half of the memory.
const (
	// workerRoom is how much a worker's heap may grow beyond what is in use before the collector runs, in bytes. A
	// large heap may grow by a fifth. Most of a worker's heap is images, which stay; training allocates next to
	// nothing, so that the collector has little to do. But a worker without images, whose heap is small, would spend
	// half of its time collecting if it looked whenever a fifth was added.
	workerRoom = 16 << 20
	// smallWorker is how much a worker has in use at most that has room for more. Thousands of short runs a second, of
	// the synthetic model, leave so much behind that the collector took a seventh of the worker's time with workerRoom.
	smallWorker     = 16 << 20
	smallWorkerRoom = 64 << 20
	// coordinatorHeap is how large a coordinator's heap may grow while what is in use is at most half of it, in bytes; then
	// the collector runs more and more often, and at last whenever a fifth was added. Small heaps don't need to be smaller,
	// and collecting costs: a study of 400,000 trials was trained at 15,000 trials/s with twice of what was in use, and at
	// 12,500 with a quarter or a half more (command/scale throughput -trials 400000, on the same quiet machine).
	coordinatorHeap = 490 << 20
	// coordinatorRoom is how much a coordinator's small heap may grow, by at most eight times of what is in use. While the
	// collector runs, everything waits longer, and with 20 MB in use it ran a sixteenth of the time: a slot was free for
	// 11 ms at the 99th percentile, and for 5 to 6 ms with six times of what was in use (command/scale latency).
	coordinatorRoom = 128 << 20
)

// pace says what GOGC is to be when so many bytes are in use.
type pace func(live uint64) (percent int)

// keepHeapSmall sets the collector's pace by what is in use, unless GOGC is set.
func keepHeapSmall(pace pace) {
	if os.Getenv("GOGC") == "" {
		pace.follow(0)
	}
}

// follow sets the collector's pace, now and after every collection.
func (p pace) follow(before int) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	percent := p(sample[0].Value.Uint64())
	// Setting it stops all goroutines for a moment.
	if percent != before {
		debug.SetGCPercent(percent)
	}
	// The next collection finds that nobody refers to this.
	runtime.AddCleanup(new([2]*int), p.follow, percent)
}

// workerPace and coordinatorPace have a few steps, so that GOGC seldom changes.
func workerPace(live uint64) int {
	if live <= smallWorker {
		return step(live, smallWorkerRoom, 800, 600, 400)
	}
	return step(live, workerRoom, 50, 20)
}

func coordinatorPace(live uint64) int {
	if 2*live <= coordinatorHeap {
		return step(live, coordinatorRoom, 800, 600, 400, 300, 200, 100)
	}
	if live >= coordinatorHeap {
		return 20
	}
	return step(live, coordinatorHeap-live, 100, 90, 80, 70, 60, 50, 40, 30, 25, 20)
}

// step returns the first of percents by which the heap grows by no more than room, or the last.
func step(live, room uint64, percents ...int) int {
	for _, percent := range percents {
		if live*uint64(percent)/100 <= room {
			return percent
		}
	}
	return percents[len(percents)-1]
}
