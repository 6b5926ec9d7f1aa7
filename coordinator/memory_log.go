package coordinator

import (
	"context"
	"sync"
)

// MemoryLog is a Log of one replica that forgets everything when its process ends. It is always the leader.
type MemoryLog struct {
	machine    StateMachine
	leadership chan bool

	mu     sync.Mutex
	index  uint64
	closed bool
}

var _ Log = (*MemoryLog)(nil)

// NewMemoryLog returns an empty log that applies its commands to machine.
func NewMemoryLog(machine StateMachine) *MemoryLog {
	leadership := make(chan bool, 1)
	leadership <- true
	return &MemoryLog{machine: machine, leadership: leadership}
}

// Propose applies the command.
func (l *MemoryLog) Propose(ctx context.Context, command []byte) (uint64, any, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, nil, ErrNotLeader
	}
	l.index++
	return l.index, l.machine.Apply(l.index, command), nil
}

// Verify fails only when the log is closed.
func (l *MemoryLog) Verify(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrNotLeader
	}
	return nil
}

// Leadership sends true once.
func (l *MemoryLog) Leadership() <-chan bool { return l.leadership }

// Close stops the log.
func (l *MemoryLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}
