// Package stream draws the trainer's random numbers from counter-based streams.
//
// A stream is keyed by what its numbers are for: the run's seed, a purpose and an epoch. Whoever knows the key can
// draw the same numbers again, so a run that resumes needs no generator state, and no purpose's draws shift another's.
// The generator is ChaCha8 (https://c2sp.org/chacha8rand), a counter run through eight rounds of ChaCha, as
// math/rand/v2 has it. Only its specified output is used: how the package's other functions turn that into
// permutations and floats may change between Go releases, so that part is here.
package stream
