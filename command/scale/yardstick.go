package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// sortedNumbers are sorted in about 0.2 ms, in the caches.
	sortedNumbers = 4096
	// readNumbers are what is read from, 64 MB: more than the caches have. reads of them take about 0.3 ms.
	readNumbers, reads = 16 << 20, 1000
)

// yardstick is work that is always the same. It takes longer when the machine becomes slower: a virtual one shares its
// cores, caches and memory with strangers. What is measured becomes slower then, too, and nothing else would say why.
type yardstick struct {
	numbers, sorted []uint64
	// next has for each of its places where to read then, so that all are read once.
	next []uint32
	at   uint32
	// sorting and reading are how long each took since they were told last.
	sorting, reading []time.Duration
}

// newYardstick returns one that reads from so many numbers.
func newYardstick(places int) *yardstick {
	random := rand.New(rand.NewPCG(1, 1))
	y := &yardstick{numbers: make([]uint64, sortedNumbers), next: make([]uint32, places)}
	for i := range y.numbers {
		y.numbers[i] = random.Uint64()
	}
	for i := range y.next {
		y.next[i] = uint32(i)
	}
	// Swapping each only with earlier ones makes a single circle of all.
	for i := len(y.next) - 1; i > 0; i-- {
		other := random.IntN(i)
		y.next[i], y.next[other] = y.next[other], y.next[i]
	}
	return y
}

// work does the work once.
func (y *yardstick) work() {
	y.sorted = append(y.sorted[:0], y.numbers...)
	start := time.Now()
	slices.Sort(y.sorted)
	between := time.Now()
	for range reads {
		y.at = y.next[y.at]
	}
	y.sorting, y.reading = append(y.sorting, between.Sub(start)), append(y.reading, time.Since(between))
}

// tell returns how long each part of the work took in microseconds since it was told last: a lower quartile, as the
// work is interrupted again and again on a busy machine.
func (y *yardstick) tell() (sorting, reading float64) {
	quartile := func(times *[]time.Duration) float64 {
		if len(*times) == 0 {
			return 0
		}
		slices.Sort(*times)
		its := (*times)[len(*times)/4]
		*times = (*times)[:0]
		return its.Seconds() * 1e6
	}
	return quartile(&y.sorting), quartile(&y.reading)
}
