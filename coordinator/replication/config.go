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
	// DefaultHeartbeatTimeout is how long a node waits for its leader before it asks to be elected, up to a half
	// longer. Most elections take one round trip, the others one to two timeouts more, so that a new leader serves
	// within 2 s. A leader sends five to ten heartbeats in that time, so that a loaded machine does not hold elections
	// without need.
	DefaultHeartbeatTimeout = 500 * time.Millisecond
	// DefaultStallTimeout is how long one append may take. A disk that takes longer hangs, and its node would hang the
	// cluster: a leader's heartbeats do not wait for its disk.
	DefaultStallTimeout = 10 * time.Second
	// DefaultMaxPending is how many commands may be proposed and not yet applied.
	DefaultMaxPending = 4096
	// DefaultMaxPendingBytes is how many bytes they may have in all.
	DefaultMaxPendingBytes = 128 << 20
	// DefaultSnapshotEntries is after how many entries the state machine is written to a snapshot.
	DefaultSnapshotEntries = 20_000
	// DefaultSnapshotBytes is after how many bytes of entries that is.
	DefaultSnapshotBytes = 64 << 20
	// DefaultTrailingEntries is how many entries stay in the log behind a snapshot, for nodes that were away for a
	// moment.
	DefaultTrailingEntries = 8192
	// MaxCommand is the size of the largest command in bytes. The log's segments can hold twice as much.
	MaxCommand = 32 << 20
)

// StateMachine is what a Log applies commands to. A Log calls one method at a time.
type StateMachine interface {
	// Apply must be deterministic: no clock, no random numbers, no I/O. An answer of type Fatal ends the node.
	Apply(index uint64, command []byte) (answer any)
	// Snapshot returns a view of the state as of now. It must be cheap: nothing is applied meanwhile.
	Snapshot() (Snapshot, error)
	// Restore replaces the state by what a snapshot has written.
	Restore(r io.Reader) error
}

// Checker is a StateMachine that can tell whether it would restore a snapshot, and change nothing. A backup that it
// refuses is not restored; that of a StateMachine without Check is, and ends the node if it can't be.
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
	// Dial connects to the node that other nodes reach under that address.
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// Config says how a node keeps its log.
type Config struct {
	// Dir is the data directory of the node. It is made if it is missing.
	Dir string
	// Memory takes the place of Dir in simulations.
	Memory *Memory
	// Address is the host:port under which other nodes, workers and clients reach this node.
	Address string
	// Network is how nodes reach each other. A Log closes it. Default: none, for a node that stays alone.
	Network Network
	// Bootstrap says that a node without a log becomes a cluster of one. Else it waits to be added to one.
	Bootstrap bool
	// Logger receives what operators want to know. Default: nothing.
	Logger *slog.Logger

	// HeartbeatTimeout is how long a node waits for its leader. Default: DefaultHeartbeatTimeout.
	HeartbeatTimeout time.Duration
	// StallTimeout is how long one append may take. Default: DefaultStallTimeout.
	StallTimeout time.Duration
	// MaxPending and MaxPendingBytes bound what may be proposed and not yet applied. Defaults: DefaultMaxPending,
	// DefaultMaxPendingBytes.
	MaxPending      int
	MaxPendingBytes int64
	// SnapshotEntries and SnapshotBytes say after how many entries, or how many bytes of them, a snapshot is taken.
	// Defaults: DefaultSnapshotEntries, DefaultSnapshotBytes.
	SnapshotEntries uint64
	SnapshotBytes   uint64
	// TrailingEntries is how many entries stay in the log behind a snapshot. Default: DefaultTrailingEntries.
	TrailingEntries uint64

	// transferTimeout takes the place of the constant of that name in tests.
	transferTimeout time.Duration
	// fault fails writes to the disk, in tests.
	fault func(what string) error
}

// withDefaults validates the configuration and fills in what is left out.
func (c Config) withDefaults() (Config, error) {
	if (c.Dir == "") == (c.Memory == nil) {
		return c, errors.New("replication: give either a data directory or a memory")
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return c, fmt.Errorf("replication: the node's address must be host:port: %w", err)
	}
	if c.HeartbeatTimeout < 0 || c.HeartbeatTimeout > 0 && c.HeartbeatTimeout < 10*time.Millisecond {
		return c, fmt.Errorf("replication: a heartbeat timeout of %v is too short: give 10ms or more",
			c.HeartbeatTimeout)
	}
	if c.StallTimeout < 0 || c.MaxPending < 0 || c.MaxPendingBytes < 0 {
		return c, errors.New("replication: a limit is negative")
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
