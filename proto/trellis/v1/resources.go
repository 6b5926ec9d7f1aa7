package trellisv1

import "math"

// Threads is how many threads a program is told to compute with: one for each core, of which it has one by default.
func (r *Resources) Threads() int { return max(1, int(math.Ceil(r.GetCpus()))) }
