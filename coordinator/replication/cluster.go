package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	trellisv1 "trellis/proto/trellis/v1"
)

// Node is one of the nodes of a cluster.
type Node struct {
	ID      string
	Address string
	Leader  bool
}

// Status is how a node sees itself.
type Status struct {
	ID      string
	Address string
	Role    trellisv1.NodeRole
	// LeaderID and LeaderAddress are empty if the node knows no leader.
	LeaderID      string
	LeaderAddress string
	Term          uint64
	// LastIndex, CommitIndex, AppliedIndex and SnapshotIndex are the indices of the last entry in the node's log, of
	// the last entry that a majority has, of the last entry that was handed to its state machine, and of the last entry
	// in its newest snapshot.
	LastIndex, CommitIndex, AppliedIndex, SnapshotIndex uint64
	// LastContact is when the node last heard from the leader. It is zero on the leader itself, and if there has been
	// no leader.
	LastContact time.Time
}

// Status returns how this node sees itself.
func (l *Log) Status() Status {
	leader, leaderID := l.raft.LeaderWithID()
	status := Status{
		ID: l.id, Address: l.config.Address, LeaderID: string(leaderID), LeaderAddress: string(leader),
		Term: l.raft.CurrentTerm(), LastIndex: l.raft.LastIndex(), CommitIndex: l.raft.CommitIndex(),
		AppliedIndex: l.raft.AppliedIndex(), Role: trellisv1.NodeRole_NODE_ROLE_CANDIDATE,
	}
	// Raft has no other way to ask for this.
	status.SnapshotIndex, _ = strconv.ParseUint(l.raft.Stats()["last_snapshot_index"], 10, 64)
	switch {
	case l.raft.State() == raft.Leader:
		status.Role = trellisv1.NodeRole_NODE_ROLE_LEADER
	case l.raft.State() == raft.Follower && leader != "":
		status.Role = trellisv1.NodeRole_NODE_ROLE_FOLLOWER
	}
	if status.Role != trellisv1.NodeRole_NODE_ROLE_LEADER {
		status.LastContact = l.raft.LastContact()
	}
	return status
}

// Includes says whether the state includes all entries up to the index. Status().AppliedIndex may be ahead of this: it
// counts entries that wait for the state machine.
func (l *Log) Includes(index uint64) bool {
	for included := l.machine.included.Load(); index > included; index-- {
		// Read without the guard, because the guard ends the goroutine that meets an error.
		entry := &raft.Log{}
		if err := l.store.store.GetLog(index, entry); err != nil {
			return false
		}
		if entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration {
			return false
		}
		// Other entries never reach the state machine.
	}
	return true
}

// Nodes returns the nodes of the cluster as this node knows them. It returns none while the node waits to be added to a
// cluster.
func (l *Log) Nodes() ([]Node, error) {
	configuration := l.raft.GetConfiguration()
	if err := configuration.Error(); err != nil {
		return nil, fmt.Errorf("read the cluster's nodes: %w", err)
	}
	_, leader := l.raft.LeaderWithID()
	var nodes []Node
	for _, server := range configuration.Configuration().Servers {
		nodes = append(nodes, Node{ID: string(server.ID), Address: string(server.Address), Leader: server.ID == leader})
	}
	return nodes, nil
}

// Alone says whether this node is its cluster's only one. A node that waits to be added to a cluster is not.
func (l *Log) Alone() bool {
	servers := l.servers()
	return len(servers) == 1 && string(servers[0].ID) == l.id
}

// AddNode adds a node, or changes a node's address. It returns when a majority has recorded this. It only works on the
// leader.
func (l *Log) AddNode(ctx context.Context, id, address string) error {
	if id == "" || address == "" {
		return errors.New("missing id or address of the node")
	}
	for _, server := range l.servers() {
		switch {
		case string(server.ID) == id && string(server.Address) == address:
			return l.Verify(ctx)
		case string(server.ID) != id && string(server.Address) == address:
			return fmt.Errorf("%s is already the address of node %s: remove that node first", address, server.ID)
		}
	}
	return l.ask(ctx, func() error {
		return l.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, 0).Error()
	})
}

// Form makes this node, which has waited to be added to a cluster, a cluster of one.
func (l *Log) Form(ctx context.Context) error {
	return l.ask(ctx, l.form)
}

func (l *Log) form() error { return l.raft.BootstrapCluster(only(l.id, l.config.Address)).Error() }

// RemoveNode removes a node, which may be the leader itself. It only works on the leader.
func (l *Log) RemoveNode(ctx context.Context, idOrAddress string) error {
	server, err := l.find(idOrAddress)
	if err != nil {
		return err
	}
	if len(l.servers()) == 1 {
		return ErrLastNode
	}
	return l.ask(ctx, func() error { return l.raft.RemoveServer(server.ID, 0, 0).Error() })
}

// TransferLeadership makes another node the leader: the given one or, if idOrAddress is empty, the one that is most up
// to date. It returns when this node no longer leads. It only works on the leader.
func (l *Log) TransferLeadership(ctx context.Context, idOrAddress string) error {
	if len(l.servers()) == 1 {
		return ErrNoSuccessor
	}
	transfer := func() error { return l.raft.LeadershipTransfer().Error() }
	if idOrAddress != "" {
		server, err := l.find(idOrAddress)
		if err != nil {
			return err
		}
		if string(server.ID) == l.id {
			return l.Verify(ctx)
		}
		transfer = func() error { return l.raft.LeadershipTransferToServer(server.ID, server.Address).Error() }
	}
	return l.ask(ctx, transfer)
}

// find returns the node with the id or address.
func (l *Log) find(idOrAddress string) (raft.Server, error) {
	for _, server := range l.servers() {
		if string(server.ID) == idOrAddress || string(server.Address) == idOrAddress {
			return server, nil
		}
	}
	return raft.Server{}, fmt.Errorf("%w: %q", ErrUnknownNode, idOrAddress)
}
