package kernel

import "time"

// Peak measures how many floating point operations the core does in a second in a loop of fused multiply-adds on
// registers, on the path in use; 0 for the portable path. It takes a few milliseconds, of which the best counts: others
// may use the core.
func Peak() float64 {
	run := active.Load().peak
	if run == nil {
		return 0
	}
	const tries, rounds = 50, 5_000
	best := 0.0
	for range tries {
		start := time.Now()
		multiplyAdds := run(rounds)
		best = max(best, 2*float64(multiplyAdds)/time.Since(start).Seconds())
	}
	return best
}
