package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// result says how a proposal has ended.
type result struct {
	index  uint64
	answer any
	err    error
}

// Propose appends a command. Once the command is durable on a majority and applied on this node, it returns the
// command's index and the state machine's answer. ErrNotLeader, ErrBusy and ErrTooLarge mean that the command was not
// appended. Any other error, including that of ctx, leaves open whether it will be applied. The caller must not change
// the command afterwards.
func (l *Log) Propose(ctx context.Context, command []byte) (index uint64, answer any, err error) {
	if len(command) > MaxCommand {
		return 0, nil, fmt.Errorf("%w: it has %d bytes, but the limit is %d", ErrTooLarge, len(command), MaxCommand)
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

// Verify returns nil once this node is certain that it leads and has applied everything ever acknowledged.
func (l *Log) Verify(ctx context.Context) error {
	return l.ask(ctx, func() error {
		if err := l.verifyLeader(); err != nil {
			return err
		}
		// A leader that has caught up in its term has applied everything that earlier leaders acknowledged, and it only
		// acknowledges what it has applied.
		if l.caughtUp.Load() == l.raft.CurrentTerm() {
			return nil
		}
		return l.raft.Barrier(0).Error()
	})
}

// verifyLeader has raft ask a majority whether this node is still the leader. When raft is shut down, it answers all
// pending requests except these, so endVerifying waits for them.
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

// endVerifying refuses new calls of verifyLeader, and waits until raft has answered the pending ones. Raft may never
// answer, if it waits for the disk or if one of its goroutines has ended. Whatever waits for raft then ends with the
// process.
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

// ask sends a request to raft. The request may outlive ctx.
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

// wait waits for a result, for ctx, or for the node's failure. After a failure nothing is acknowledged.
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

// refusal is like translate, but also tells watchTransfers if a transfer of the leadership was the reason.
func (l *Log) refusal(err error) error {
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		select {
		case l.refused <- struct{}{}:
		default:
		}
	}
	return translate(err)
}

// translate turns raft's errors into those of this package.
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
		return fmt.Errorf("a backup was restored in the meantime: %w", ErrLeadershipLost)
	case errors.Is(err, raft.ErrLeadershipLost):
		return ErrLeadershipLost
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	}
	return err
}

// enter counts a pending request, and the commands and bytes in it, if there is room for them.
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
		return fmt.Errorf("%w: %d commands with %d bytes are waiting", ErrBusy, l.commands, l.bytes)
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

// waitIdle waits until nothing is pending, and says whether this happened within the timeout.
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
