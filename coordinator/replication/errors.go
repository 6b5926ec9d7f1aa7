package replication

import (
	"errors"
	"fmt"
	"sync"
)

// What a Log answers, to be tested by errors.Is.
var (
	// ErrNotLeader means that this node can't change anything now. What was proposed was not appended.
	ErrNotLeader = errors.New("this coordinator is not the leader")
	// ErrLeadershipLost means that this node led when something was proposed, and does not any more, or that a backup
	// was restored: nobody knows whether it will be applied.
	ErrLeadershipLost = errors.New("this coordinator has ceased to be the leader, and can't know whether the change " +
		"will be made")
	// ErrBusy means that too much has been proposed and not yet applied. What was proposed was not appended: try again
	// later.
	ErrBusy = errors.New("the log is overloaded")
	// ErrTooLarge means that a command is too large for the log. It was not appended.
	ErrTooLarge = errors.New("the command is too large for the log")
	// ErrLocked means that another process uses the data directory.
	ErrLocked = errors.New("the data directory is in use")
	// ErrNewerVersion means that a newer version of Trellis wrote the data directory or the backup.
	ErrNewerVersion = errors.New("written by a newer version of Trellis")
	// ErrDamaged means that a data directory or a backup is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrFailed means that this node can't go on: see Log.Failed. Nobody knows whether what was proposed will be
	// applied.
	ErrFailed = errors.New("the log has failed")
	// ErrClosed means that the log has been closed.
	ErrClosed = errors.New("the log is closed")
	// ErrNoBackup: what is to be restored is something else.
	ErrNoBackup = errors.New("this is not a backup of Trellis")
	// ErrNoSpace means that the data directory has no room for the backup that is to be restored. Nothing has been
	// changed.
	ErrNoSpace = errors.New("no room for the backup in the data directory")
	// ErrUnknownNode means that no node of the cluster has that id or address.
	ErrUnknownNode = errors.New("no such node in the cluster")
	// ErrLastNode means that a cluster's only node can't be removed.
	ErrLastNode = errors.New("the cluster's only node can't be removed")
)

// errTakingOver means that this node leads and refuses everything, because another is to take over.
var errTakingOver = fmt.Errorf("%w: another is taking over", ErrNotLeader)

// Fatal is what a StateMachine answers when it can't apply a command that the cluster has agreed on, because the
// command is from a newer version, say. The node must not go on without it: the log fails with it.
type Fatal struct {
	Err error
}

func (f Fatal) Error() string { return f.Err.Error() }

// Unwrap returns the reason.
func (f Fatal) Unwrap() error { return f.Err }

var _ error = Fatal{}

// failure is the first error after which a node must not go on. The zero value is not usable: make it with newFailure.
type failure struct {
	// done is closed when there is one.
	done chan struct{}
	// report hands it to the owner once.
	report chan error

	mu    sync.Mutex
	cause error
}

func newFailure() *failure {
	return &failure{done: make(chan struct{}), report: make(chan error, 1)}
}

// set makes err the failure, unless there is one.
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

// first returns the failure as it is, or nil.
func (f *failure) first() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// err returns the failure as the error of what can't be done because of it, or nil.
func (f *failure) err() error {
	cause := f.first()
	if cause == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrFailed, cause)
}
