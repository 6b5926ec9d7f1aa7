package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	"trellis/coordinator/lead"
	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// Log orders the commands of a cluster, and applies each to every replica's state machine, once and in order.
type Log interface {
	// Propose appends a command. Once the command is durable and applied on this replica, it returns the command's
	// index and the state machine's answer. ErrNotLeader means that the command was not appended and may be proposed
	// elsewhere. Any other error leaves open whether it will be applied.
	Propose(ctx context.Context, command []byte) (index uint64, answer any, err error)
	// Verify returns nil once this replica is certain that it leads and has applied everything ever acknowledged.
	Verify(ctx context.Context) error
	// Leadership sends true when this replica becomes the leader, and false when it stops being the leader.
	Leadership() <-chan bool
	// Leader returns the address of the leader, as this replica knows it.
	Leader() (address string, known bool)
	// Failed sends the error after which this process can't continue: its disk has failed, or the state machine can't
	// apply what the cluster has agreed on. Nothing is acknowledged afterwards.
	Failed() <-chan error
	// Close stops the log. Nothing is applied afterwards.
	Close() error
}

// ErrNotLeader means that this replica can't change anything at the moment.
var ErrNotLeader = replication.ErrNotLeader

// commands appends commands to the log, once it is open.
type commands struct {
	log Log
	// notify is called for every command that was applied, with the state machine's answer.
	notify func(command *trellisv1.Command, answer any)
}

var (
	_ api.Log  = (*commands)(nil)
	_ lead.Log = (*commands)(nil)
)

// Verify returns nil once it is certain that this node leads and has applied everything ever acknowledged.
func (c *commands) Verify(ctx context.Context) error { return c.log.Verify(ctx) }

// Propose stamps a command with the leader's clock and the latest rules, appends it, and returns the state machine's
// answer. An answer that is an error is returned as the error.
func (c *commands) Propose(ctx context.Context, command *trellisv1.Command) (any, error) {
	command.Time, command.Rules = timestamppb.Now(), uint32(trajectory.LatestRules)
	data, err := proto.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	_, answer, err := c.log.Propose(ctx, data)
	if err != nil {
		return nil, fmt.Errorf("append a command to the log: %w", err)
	}
	if err, ok := answer.(error); ok {
		return nil, err
	}
	c.notify(command, answer)
	return answer, nil
}

// asked appends commands that calls ask for. Each names its call, and leaves an event.
type asked struct{ *commands }

var _ api.Log = asked{}

// Propose appends a command on behalf of the call that ctx belongs to.
func (a asked) Propose(ctx context.Context, command *trellisv1.Command) (any, error) {
	call := access.CallOf(ctx)
	command.Principal, command.Address, command.Method = call.Principal.Message(), call.Address, call.Method
	return a.commands.Propose(ctx, command)
}

// busyPause is how long ProposePatiently waits while the log has no room.
const busyPause = 10 * time.Millisecond

// ProposePatiently is like Propose, but while the log has no room, it retries until ctx is done.
func (c *commands) ProposePatiently(ctx context.Context, command *trellisv1.Command) (any, error) {
	for {
		answer, err := c.Propose(ctx, command)
		if !errors.Is(err, replication.ErrBusy) {
			return answer, err
		}
		timer := time.NewTimer(busyPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

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
