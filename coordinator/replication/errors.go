package replication

import (
	"errors"
	"fmt"
	"sync"
)

// Errors of a Log, for errors.Is.
var (
	// ErrNotLeader means that this node is not the leader, so it can't change anything. The command was not appended.
	ErrNotLeader = errors.New("this coordinator is not the leader")
	// ErrLeadershipLost means that this node led when a command was proposed and no longer leads, or that a backup was
	// restored. It is unknown whether the command will be applied.
	ErrLeadershipLost = errors.New("this coordinator is no longer the leader, and can't know whether the change " +
		"will be made")
	// ErrBusy means that too many commands are proposed and not yet applied. The command was not appended: retry later.
	ErrBusy = errors.New("the log is overloaded")
	// ErrTooLarge means that a command is too large for the log. It was not appended.
	ErrTooLarge = errors.New("the command is too large for the log")
	// ErrLocked means that another process uses the data directory.
	ErrLocked = errors.New("the data directory is in use")
	// ErrNewerVersion means that a newer version of Trellis wrote the data directory or the backup.
	ErrNewerVersion = errors.New("written by a newer version of Trellis")
	// ErrDamaged means that a data directory or a backup is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrFailed means that this node can't continue: see Log.Failed. It is unknown whether the command will be applied.
	ErrFailed = errors.New("the log has failed")
	// ErrClosed means that the log has been closed.
	ErrClosed = errors.New("the log is closed")
	// ErrNoBackup means that the data to restore is not a backup.
	ErrNoBackup = errors.New("this is not a backup of Trellis")
	// ErrNoSpace means that the data directory has no room for the backup to restore. Nothing has been changed.
	ErrNoSpace = errors.New("no room for the backup in the data directory")
	// ErrUnknownNode means that no node of the cluster has the id or address.
	ErrUnknownNode = errors.New("no such node in the cluster")
	// ErrLastNode means that a cluster's only node can't be removed.
	ErrLastNode = errors.New("the cluster's only node can't be removed")
	// ErrNoSuccessor means that there is no node to which leadership could be transferred.
	ErrNoSuccessor = errors.New("the cluster has no other node that could lead")
)

// errTakingOver means that this node leads but refuses everything, because another node is taking over.
var errTakingOver = fmt.Errorf("%w: another node is taking over", ErrNotLeader)

// Fatal is a StateMachine's answer if it can't apply a command that the cluster has agreed on, for example because a
// newer version proposed it. The node must not continue without the command, so the log fails with this error.
type Fatal struct {
	Err error
}

func (f Fatal) Error() string { return f.Err.Error() }

// Unwrap returns the reason.
func (f Fatal) Unwrap() error { return f.Err }

var _ error = Fatal{}

// failure is the first error after which a node must not continue. The zero value is not usable: use newFailure.
type failure struct {
	// done is closed when there is a failure.
	done chan struct{}
	// report sends the failure to the owner, once.
	report chan error

	mu    sync.Mutex
	cause error
}

func newFailure() *failure {
	return &failure{done: make(chan struct{}), report: make(chan error, 1)}
}

// set makes err the failure, unless there already is one.
func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause != nil {
		return
	}
	f.cause = err
	f.report <- err
	close(f.done)
}

// first returns the failure itself, or nil.
func (f *failure) first() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// err returns the error of an operation that can't be done because of the failure, or nil if there is no failure.
func (f *failure) err() error {
	cause := f.first()
	if cause == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrFailed, cause)
}
