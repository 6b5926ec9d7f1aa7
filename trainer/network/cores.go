package network

import "sync/atomic"

// Cores lends processor cores that would be idle. It is safe for concurrent use.
type Cores interface {
	// TryTake takes a core if one is idle, and says so. Return gives it back.
	TryTake() bool
	Return()
	// Wanted says that somebody waits for a core that is lent.
	Wanted() bool
}

// MaxMembers is how many goroutines run a batch at most: each has memory of its own.
const MaxMembers = 8

// loan are the cores that a batch was lent.
type loan struct {
	cores Cores
	held  atomic.Int32
}

// take takes cores for up to so many goroutines, and returns for how many there are cores, the first one's included.
func (l *loan) take(cores Cores, members int) int {
	l.cores = cores
	taken := 1
	for taken < min(members, MaxMembers) && cores.TryTake() {
		taken++
	}
	l.held.Store(int32(taken - 1))
	return taken
}

// wanted says that somebody else wants them.
func (l *loan) wanted() bool { return l.held.Load() > 0 && l.cores.Wanted() }

// giveBack gives so many back before the end.
func (l *loan) giveBack(count int) {
	for range count {
		l.held.Add(-1)
		l.cores.Return()
	}
}

// end gives the rest back.
func (l *loan) end() { l.giveBack(int(l.held.Load())) }
