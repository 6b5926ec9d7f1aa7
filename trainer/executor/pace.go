package executor

import "time"

// pace finds out whether batches are faster on several goroutines than on one. They are not where others use the
// machine: a goroutine that loses its processor in the middle of a tile keeps all others waiting.
type pace struct {
	// tile is what a tile took lately, on one goroutine and on several. 0: it is not known.
	tile [2]time.Duration
	// faster says that several were faster last.
	faster bool
	// batches is how many there were since the slower way was tried, and patience after how many it is tried again.
	batches, patience int
}

// The slower way is tried again after retry batches, and twice as many each time that it is slower still, up to
// maxRetry.
const (
	retry    = 32
	maxRetry = 64 * retry
)

// shared says whether the next batch should have several goroutines.
func (p *pace) shared() bool {
	faster := p.tile[1] <= p.tile[0] || p.tile[0] == 0
	if faster != p.faster || p.patience == 0 {
		p.faster, p.batches, p.patience = faster, 0, retry
	}
	if p.batches++; p.batches >= p.patience {
		p.batches, p.patience = 0, min(2*p.patience, maxRetry)
		return !faster
	}
	return faster
}

// observe notes how long a batch of that many tiles took.
func (p *pace) observe(members, tiles int, took time.Duration) {
	known := &p.tile[min(members-1, 1)]
	if took /= time.Duration(max(tiles, 1)); *known == 0 || took < *known {
		*known = took // It may have become faster long ago, since it is tried seldom.
		return
	}
	*known += (min(took, 2**known) - *known) / 4 // A single batch that was interrupted says little.
}
