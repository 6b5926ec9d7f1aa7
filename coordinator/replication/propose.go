package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// result is how a proposal has ended.
type result struct {
	index  uint64
	answer any
	err    error
}

// Propose appends a command. It returns once the command is durable on a majority and applied here: its index, and what
// the state machine answered. ErrNotLeader, ErrBusy and ErrTooLarge mean that it was not appended; any other error,
// that of ctx too, leaves open whether it will be applied. The command must not be changed afterwards.
func (l *Log) Propose(ctx context.Context, command []byte) (index uint64, answer any, err error) {
	if len(command) > MaxCommand {
		return 0, nil, fmt.Errorf("%w: it has %d bytes, and %d are the limit", ErrTooLarge, len(command), MaxCommand)
	}
	size := int64(len(command))
	if err := l.enter(ctx, 1, size); err != nil {
		return 0, nil, err
	}
	done := make(chan result, 1)
	go func() {
		defer l.leave(1, size)
		future := l.raft.Apply(command, 0)
		if err := future.Error(); err != nil {
			done <- result{err: l.refusal(err)}
			return
		}
		done <- result{index: future.Index(), answer: future.Response()}
	}()
	r := wait(ctx, l, done)
	if r.err != nil {
		return 0, nil, r.err
	}
	return r.index, r.answer, nil
}

// Verify returns once this node is sure that it is the leader and has applied all that was ever acknowledged.
func (l *Log) Verify(ctx context.Context) error {
	return l.ask(ctx, func() error {
		if err := l.verifyLeader(); err != nil {
			return err
		}
		// A leader that has caught up in its term has applied all that leaders before it acknowledged, and acknowledges
		// what it has applied.
		if l.caughtUp.Load() == l.raft.CurrentTerm() {
			return nil
		}
		return l.raft.Barrier(0).Error()
	})
}

// verifyLeader has raft ask a majority whether this node is still the leader. Raft's shutdown leaves nothing unanswered
// but this, so it waits for those that are under way.
func (l *Log) verifyLeader() error {
	if l.raft.State() != raft.Leader {
		return raft.ErrNotLeader
	}
	l.mu.Lock()
	if l.shut {
		l.mu.Unlock()
		return raft.ErrRaftShutdown
	}
	l.verifying.Add(1)
	l.mu.Unlock()
	defer l.verifying.Done()
	return l.raft.VerifyLeader().Error()
}

// endVerifying lets nobody ask any more, and waits until raft has answered those who have. It may never, if it waits
// for the disk or if a goroutine of it has ended: what waits for raft then ends with the process.
func (l *Log) endVerifying() {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	answered := make(chan struct{})
	go func() {
		l.verifying.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-l.store.ended:
	}
}

// ask runs a request to raft, which may outlive ctx.
func (l *Log) ask(ctx context.Context, request func() error) error {
	if err := l.enter(ctx, 0, 0); err != nil {
		return err
	}
	done := make(chan result, 1)
	go func() {
		defer l.leave(0, 0)
		done <- result{err: l.refusal(request())}
	}()
	return wait(ctx, l, done).err
}

// wait waits for a result, for ctx, or for the node's failure, after which nothing is acknowledged.
func wait(ctx context.Context, l *Log, done <-chan result) result {
	select {
	case r := <-done:
		if err := l.failure.err(); err != nil {
			return result{err: err}
		}
		return r
	case <-ctx.Done():
		return result{err: fmt.Errorf("wait for the log: %w", context.Cause(ctx))}
	case <-l.failure.done:
		return result{err: l.failure.err()}
	}
}

// refusal is translate, and has watchTransfers look at what a transfer of the leadership has refused.
func (l *Log) refusal(err error) error {
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		select {
		case l.refused <- struct{}{}:
		default:
		}
	}
	return translate(err)
}

// translate says by our errors what raft has answered.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errTakingOver
	case errors.Is(err, raft.ErrAbortedByRestore):
		// It was appended: another leader may still apply it if this node dies before the others have the backup.
		return fmt.Errorf("a backup was restored meanwhile: %w", ErrLeadershipLost)
	case errors.Is(err, raft.ErrLeadershipLost):
		return ErrLeadershipLost
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	}
	return err
}

// enter counts a request that is under way, and the commands and bytes in it, if there is room for them.
func (l *Log) enter(ctx context.Context, commands int, bytes int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.failure.err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("%w: %w", ErrNotLeader, ErrClosed)
	}
	if commands > 0 && l.commands > 0 && (l.commands >= l.config.MaxPending ||
		l.bytes+bytes > l.config.MaxPendingBytes) {
		return fmt.Errorf("%w: %d commands with %d bytes wait", ErrBusy, l.commands, l.bytes)
	}
	l.requests++
	l.commands += commands
	l.bytes += bytes
	return nil
}

// leave counts the end of a request.
func (l *Log) leave(commands int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests--
	l.commands -= commands
	l.bytes -= bytes
	if l.requests == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// waitIdle waits until nothing is under way, and says whether that came.
func (l *Log) waitIdle(timeout time.Duration) bool {
	l.mu.Lock()
	if l.requests == 0 {
		l.mu.Unlock()
		return true
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	idle := l.idle
	l.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}
