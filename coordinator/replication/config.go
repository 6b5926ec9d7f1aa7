package replication

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// Defaults and limits of a log.
const (
	// DefaultHeartbeatTimeout is how long a node waits for its leader before it asks to be elected; the actual wait is
	// up to a half longer. Most elections take one round trip, the others one to two timeouts more, so a new leader
	// serves within 2 s. A leader sends five to ten heartbeats per timeout, so that a loaded machine causes no needless
	// elections.
	DefaultHeartbeatTimeout = 500 * time.Millisecond
	// DefaultStallTimeout is how long one append may take. If it takes longer, the disk hangs, and would hang the
	// cluster too: a leader's heartbeats don't wait for its disk.
	DefaultStallTimeout = 10 * time.Second
	// DefaultMaxPending is the maximum number of commands that are proposed and not yet applied.
	DefaultMaxPending = 4096
	// DefaultMaxPendingBytes is the maximum total size of such commands in bytes.
	DefaultMaxPendingBytes = 128 << 20
	// DefaultSnapshotEntries is the number of entries after which a snapshot is taken.
	DefaultSnapshotEntries = 20_000
	// DefaultSnapshotBytes is the number of bytes of entries after which a snapshot is taken, or a part of the newest one's
	// size if that is more. It bounds how long a start replays: about 50,000 runs of ten epochs have so many, and are
	// applied again in a second.
	DefaultSnapshotBytes = 20 << 20
	// DefaultTrailingEntries is how many entries before a snapshot stay in the log, for nodes that were away for a
	// moment.
	DefaultTrailingEntries = 8192
	// MaxCommand is the maximum size of a command in bytes. The log's segments can hold twice as much.
	MaxCommand = 32 << 20
)

// StateMachine is what a Log applies commands to. The Log calls one method at a time.
type StateMachine interface {
	// Apply must be deterministic: no clock, no random numbers, no I/O. An answer of type Fatal ends the node.
	Apply(index uint64, command []byte) (answer any)
	// Snapshot returns a view of the state as of now. It must be cheap: nothing is applied in the meantime.
	Snapshot() (Snapshot, error)
	// Restore replaces the state with one that a snapshot has written.
	Restore(r io.Reader) error
}

// Checker is a StateMachine that can check whether it would be able to restore a snapshot. Check changes nothing. A
// backup that it refuses is not restored. Without Check, a backup that can't be restored ends the node.
type Checker interface {
	Check(r io.Reader) error
}

// Snapshot is a read-only view of a state machine. It is written while later commands are applied.
type Snapshot interface {
	WriteTo(w io.Writer) (int64, error)
}

// Network is how nodes reach each other.
type Network interface {
	// Listener accepts connections from other nodes. Its address does not matter: Config.Address does.
	net.Listener
	// Dial connects to the node with the address.
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// Config configures a node's log.
type Config struct {
	// Dir is the data directory of the node. It is created if it does not exist.
	Dir string
	// Memory replaces Dir in simulations.
	Memory *Memory
	// Address is the host:port at which other nodes, workers and clients reach this node.
	Address string
	// CheckCommand returns why a command from another node can't be decoded, or nil. Such a command is refused before it
	// is stored. Default: every command can be.
	CheckCommand func(command []byte) error
	// Network is how nodes reach each other. The Log closes it. Default: none, for a node that stays alone.
	Network Network
	// Bootstrap makes a node without a log a cluster of one. Otherwise such a node waits to be added to a cluster.
	Bootstrap bool
	// Logger logs what operators want to know. Default: nothing is logged.
	Logger *slog.Logger

	// HeartbeatTimeout is how long a node waits for its leader. Default: DefaultHeartbeatTimeout.
	HeartbeatTimeout time.Duration
	// StallTimeout is how long one append may take. Default: DefaultStallTimeout.
	StallTimeout time.Duration
	// MaxPending and MaxPendingBytes bound the commands that are proposed and not yet applied. Defaults:
	// DefaultMaxPending, DefaultMaxPendingBytes.
	MaxPending      int
	MaxPendingBytes int64
	// SnapshotEntries and SnapshotBytes are the number of entries, and their bytes, after which a snapshot is taken.
	// Defaults: DefaultSnapshotEntries, DefaultSnapshotBytes.
	SnapshotEntries uint64
	SnapshotBytes   uint64
	// TrailingEntries is how many entries before a snapshot stay in the log. Default: DefaultTrailingEntries.
	TrailingEntries uint64

	// transferTimeout replaces the constant of that name in tests.
	transferTimeout time.Duration
	// fault fails writes to the disk, in tests.
	fault func(what string) error
}

// withDefaults validates the configuration and fills in what is left out.
func (c Config) withDefaults() (Config, error) {
	if (c.Dir == "") == (c.Memory == nil) {
		return c, errors.New("replication: exactly one of a data directory and a memory is required")
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return c, fmt.Errorf("replication: the node's address must be host:port: %w", err)
	}
	if c.HeartbeatTimeout < 0 || c.HeartbeatTimeout > 0 && c.HeartbeatTimeout < 10*time.Millisecond {
		return c, fmt.Errorf("replication: invalid heartbeat timeout %v: must be at least 10ms",
			c.HeartbeatTimeout)
	}
	if c.StallTimeout < 0 || c.MaxPending < 0 || c.MaxPendingBytes < 0 {
		return c, errors.New("replication: invalid limit: must not be negative")
	}
	c.HeartbeatTimeout = orDefault(c.HeartbeatTimeout, DefaultHeartbeatTimeout)
	c.StallTimeout = orDefault(c.StallTimeout, DefaultStallTimeout)
	c.MaxPending = orDefault(c.MaxPending, DefaultMaxPending)
	c.MaxPendingBytes = orDefault(c.MaxPendingBytes, DefaultMaxPendingBytes)
	c.SnapshotEntries = orDefault(c.SnapshotEntries, DefaultSnapshotEntries)
	c.SnapshotBytes = orDefault(c.SnapshotBytes, DefaultSnapshotBytes)
	c.TrailingEntries = orDefault(c.TrailingEntries, DefaultTrailingEntries)
	c.transferTimeout = orDefault(c.transferTimeout, transferTimeout)
	if c.Network == nil {
		c.Network = newNoNetwork()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// orDefault returns value, or otherwise if it is zero.
func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
