package coordinator

import (
	"context"
	"sync"

	"trellis/coordinator/replication"
)

// MemoryLog is a Log of one replica that forgets everything when its process ends. It is always the leader.
type MemoryLog struct {
	machine    replication.StateMachine
	address    string
	leadership chan bool

	mu     sync.Mutex
	index  uint64
	closed bool
}

var _ Log = (*MemoryLog)(nil)

// NewMemoryLog returns an empty log that applies its commands to machine. The address is the replica's own.
func NewMemoryLog(machine replication.StateMachine, address string) *MemoryLog {
	leadership := make(chan bool, 1)
	leadership <- true
	return &MemoryLog{machine: machine, address: address, leadership: leadership}
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

// Leader returns the replica's own address.
func (l *MemoryLog) Leader() (string, bool) { return l.address, true }

// Failed never sends.
func (l *MemoryLog) Failed() <-chan error { return nil }

// Close stops the log.
func (l *MemoryLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}
