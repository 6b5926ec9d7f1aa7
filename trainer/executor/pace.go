package executor

import "time"

// pace finds out whether batches are faster on several goroutines than on one. They are not where others use the
// machine: a goroutine that loses its processor in the middle of a tile keeps all others waiting.
type pace struct {
	// tile is what a tile took lately, on one goroutine and on several. 0: it is not known.
	tile [2]time.Duration
	// batches is how many there were since the slower way was tried.
	batches int
}

// retry is after how many batches the slower way is tried again: that costs a few per cent at most if it is half as
// fast.
const retry = 32

// shared says whether the next batch should have several goroutines.
func (p *pace) shared() bool {
	faster := p.tile[1] <= p.tile[0] || p.tile[0] == 0
	if p.batches++; p.batches >= retry {
		p.batches = 0
		return !faster
	}
	return faster
}

// observe notes how long a batch of that many tiles took.
func (p *pace) observe(members, tiles int, took time.Duration) {
	known := &p.tile[min(members-1, 1)]
	if took /= time.Duration(max(tiles, 1)); *known == 0 {
		*known = took
	}
	*known += (took - *known) / 4
}
