package replication

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"

	"github.com/hashicorp/raft"
)

const (
	// maxTermJump is how much later than this node's term that of another may be. Each election takes one term and half a
	// second or more, so that a node that was away for a century is within it, and nobody comes near the last term soon,
	// after which terms would begin again at 0.
	maxTermJump = 1 << 32
	// maxIndex is the last index that a snapshot may have. Attempts have numbers that are a thousand times the index of
	// their entry: they must not begin again at 0. A log needs ten thousand years for as many entries.
	maxIndex = 1 << 53
	// maxServers is how many nodes a cluster may have, and maxServerText how long their ids and addresses may be.
	maxServers    = 64
	maxServerText = 512
)

// inspect returns why a message of another node's must not reach raft, or nil.
func (t *transport) inspect(message any) error {
	started := t.raft.Load()
	if t.log.Alone() {
		return errors.New("this node is alone in its cluster")
	}
	if header, ok := message.(raft.WithRPCHeader); ok {
		// Without these, raft would use older fields of the messages.
		if h := header.GetRPCHeader(); len(h.ID) == 0 || len(h.Addr) == 0 || len(h.ID) > maxServerText ||
			len(h.Addr) > maxServerText {
			return errors.New("the sender's id or address is missing or too long")
		}
	}
	switch m := message.(type) {
	case *raft.AppendEntriesRequest:
		if err := checkTerm(m.Term, started); err != nil {
			return err
		}
		return t.inspectEntries(m, started.CommitIndex())
	case *raft.RequestVoteRequest:
		if m.LastLogTerm > m.Term {
			return errors.New("the candidate's log is of a later term than its own")
		}
		return checkTerm(m.Term, started)
	case *raft.RequestPreVoteRequest:
		if m.LastLogTerm > m.Term {
			return errors.New("the candidate's log is of a later term than its own")
		}
		return checkTerm(m.Term, started)
	case *raft.InstallSnapshotRequest:
		if err := checkTerm(m.Term, started); err != nil {
			return err
		}
		return t.inspectSnapshot(m, started.CommitIndex())
	case *raft.TimeoutNowRequest:
		return nil
	default:
		return fmt.Errorf("unknown message %T", message)
	}
}

// checkTerm refuses terms that no elections could have reached.
func checkTerm(term uint64, started *raft.Raft) error {
	if own := started.CurrentTerm(); term > own && term-own > maxTermJump {
		return fmt.Errorf("term %d can't follow this node's term, %d", term, own)
	}
	return nil
}

// inspectEntries refuses entries that raft, or whoever applies them, could not read, and entries that contradict what a
// majority has agreed on.
func (t *transport) inspectEntries(m *raft.AppendEntriesRequest, committed uint64) error {
	if m.PrevLogTerm > m.Term {
		return fmt.Errorf("the entries follow one of term %d, which is later than the leader's, %d", m.PrevLogTerm, m.Term)
	}
	if err := t.checkCommitted(m.PrevLogEntry, m.PrevLogTerm, committed); err != nil {
		return err
	}
	index, term := m.PrevLogEntry, m.PrevLogTerm
	for _, entry := range m.Entries {
		switch {
		case entry == nil:
			return errors.New("an entry is missing")
		case index == math.MaxUint64 || entry.Index != index+1:
			return fmt.Errorf("entry %d follows entry %d", entry.Index, index)
		case entry.Term < term || entry.Term > m.Term || entry.Term == 0:
			return fmt.Errorf("entry %d is of term %d, after one of term %d from a leader of term %d", entry.Index,
				entry.Term, term, m.Term)
		case len(entry.Data) > MaxCommand || len(entry.Extensions) > maxServerText:
			return fmt.Errorf("entry %d has %d bytes, more than %d", entry.Index, len(entry.Data), MaxCommand)
		}
		if err := t.inspectEntry(entry); err != nil {
			return fmt.Errorf("entry %d: %w", entry.Index, err)
		}
		if err := t.checkCommitted(entry.Index, entry.Term, committed); err != nil {
			return err
		}
		index, term = entry.Index, entry.Term
	}
	return nil
}

// inspectEntry refuses an entry that can't be decoded.
func (t *transport) inspectEntry(entry *raft.Log) error {
	switch entry.Type {
	case raft.LogNoop, raft.LogBarrier:
		return nil
	case raft.LogCommand:
		if t.log.config.CheckCommand == nil {
			return nil
		}
		return t.log.config.CheckCommand(entry.Data)
	case raft.LogConfiguration:
		return checkConfiguration(entry.Data)
	default:
		return fmt.Errorf("unknown type %d", entry.Type)
	}
}

// checkConfiguration refuses a list of a cluster's nodes that can't be decoded, or that raft would not have written.
func checkConfiguration(data []byte) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("the list of nodes: %v", reason)
		}
	}()
	servers := raft.DecodeConfiguration(data).Servers
	if len(servers) > maxServers {
		return fmt.Errorf("the list of nodes has %d, more than %d", len(servers), maxServers)
	}
	ids, addresses, voters := map[raft.ServerID]bool{}, map[raft.ServerAddress]bool{}, 0
	for _, server := range servers {
		_, _, err := net.SplitHostPort(string(server.Address))
		if err != nil || server.ID == "" || len(server.ID) > maxServerText || len(server.Address) > maxServerText ||
			ids[server.ID] || addresses[server.Address] {
			return fmt.Errorf("the list of nodes has a node %.50q at %.50q", server.ID, server.Address)
		}
		ids[server.ID], addresses[server.Address] = true, true
		if server.Suffrage == raft.Voter {
			voters++
		}
	}
	if voters == 0 {
		return errors.New("the list of nodes has none that votes")
	}
	return nil
}

// checkCommitted refuses an entry in place of one that a majority has agreed on.
func (t *transport) checkCommitted(index, term, committed uint64) error {
	if index == 0 || index > committed {
		return nil
	}
	own := &raft.Log{}
	// Read without the guard, which ends the goroutine that meets an error. What is no longer in the log is in a snapshot.
	if err := t.log.store.store.GetLog(index, own); err == nil && own.Term != term {
		return fmt.Errorf("entry %d of term %d contradicts the one of term %d, which is committed", index, term, own.Term)
	}
	return nil
}

// inspectSnapshot refuses a snapshot that can't be kept. Its content is inspected when it is received.
func (t *transport) inspectSnapshot(m *raft.InstallSnapshotRequest, committed uint64) error {
	switch {
	case m.SnapshotVersion != raft.SnapshotVersionMax:
		return fmt.Errorf("the snapshot has version %d", m.SnapshotVersion)
	case m.LastLogIndex == 0 || m.LastLogIndex > maxIndex || m.ConfigurationIndex > m.LastLogIndex:
		return fmt.Errorf("the snapshot ends with entry %d, and its list of nodes is from entry %d", m.LastLogIndex,
			m.ConfigurationIndex)
	case m.LastLogTerm > m.Term || m.LastLogTerm == 0:
		return fmt.Errorf("the snapshot is of term %d, from a leader of term %d", m.LastLogTerm, m.Term)
	case m.Size < 0:
		return fmt.Errorf("the snapshot has %d bytes", m.Size)
	}
	if err := checkConfiguration(m.Configuration); err != nil {
		return err
	}
	if t.log.directory != nil {
		// Twice: once as it is received, and once as it is kept.
		if free, _, err := t.log.directory.space(); err == nil && uint64(m.Size) > free/2 {
			return fmt.Errorf("the snapshot has %d bytes, and there is no room for it twice: %d are free", m.Size, free)
		}
	}
	return t.checkCommitted(m.LastLogIndex, m.LastLogTerm, committed)
}

// RequestVote asks another node for its vote. An impossible term in its answer is an error: raft would take it over.
func (t *transport) RequestVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse,
) error {
	if err := t.NetworkTransport.RequestVote(id, target, args, resp); err != nil {
		return err
	}
	return t.checkAnswer(target, resp.Term)
}

// RequestPreVote asks another node whether it would vote for this one. See RequestVote.
func (t *transport) RequestPreVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	if err := t.NetworkTransport.RequestPreVote(id, target, args, resp); err != nil {
		return err
	}
	return t.checkAnswer(target, resp.Term)
}

// AppendEntries sends entries to another node: not more of them than fit into a message. Raft goes on after the last of
// args.Entries. For the answer, see RequestVote.
func (t *transport) AppendEntries(
	id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	size := 0
	for i, entry := range args.Entries {
		if size += len(entry.Data); size > maxMessage && i > 0 {
			args.Entries = args.Entries[:i]
			break
		}
	}
	if err := t.NetworkTransport.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	return t.checkAnswer(target, resp.Term)
}

// InstallSnapshot sends a snapshot to another node. For the answer, see RequestVote.
func (t *transport) InstallSnapshot(
	id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse,
	data io.Reader,
) error {
	if err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, data); err != nil {
		return err
	}
	return t.checkAnswer(target, resp.Term)
}

// checkAnswer refuses an answer with an impossible term.
func (t *transport) checkAnswer(from raft.ServerAddress, term uint64) error {
	started := t.raft.Load()
	if started == nil {
		return nil
	}
	if err := checkTerm(term, started); err != nil {
		t.log.logger.Warn("refused an answer of another node", "address", from, "error", err)
		return err
	}
	return nil
}
