package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"
)

// Leadership sends true when this node leads and has applied everything ever acknowledged, and false when it no longer
// leads. A late reader gets the latest value. Two values of true in a row mean that leadership was lost in between.
func (l *Log) Leadership() <-chan bool { return l.leadership }

// Leader returns the address of the leader, if this node knows one.
func (l *Log) Leader() (address string, known bool) {
	leader, _ := l.raft.LeaderWithID()
	return string(leader), leader != ""
}

// Uncertain says whether this node, which Leadership says leads, may have been replaced. Raft checks that a majority still
// listens, but not while it waits for the disk: once that takes longer than an election, another node may lead. If that one is
// heard, raft ceases to lead, but says so only when the disk answers. Verify would wait too.
func (l *Log) Uncertain() bool {
	return (l.raft.State() != raft.Leader || l.store.waiting() > l.config.HeartbeatTimeout) && !l.Alone()
}

// lead waits until this node is elected, catches up, and tells the owner.
func (l *Log) lead() {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-l.stopping:
			return
		case leads := <-l.raft.LeaderCh():
			stop()
			stop = func() {}
			l.publish(false)
			if leads {
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() {
					defer close(done)
					l.takeOver(ctx)
				}()
				stop = func() {
					cancel()
					<-done
				}
			}
		}
	}
}

// takeOver applies everything that earlier leaders have acknowledged, and announces that this node leads. It ends early
// if ctx is done.
func (l *Log) takeOver(ctx context.Context) {
	start := time.Now()
	term := l.raft.CurrentTerm()
	for {
		if err := l.ask(ctx, func() error { return l.raft.Barrier(0).Error() }); err == nil {
			break
		}
		// Either leadership was lost, and ctx ends. Or another node was to take over and did not: then this one keeps
		// leading.
		select {
		case <-ctx.Done():
			return
		case <-l.failure.done:
			return
		case <-time.After(l.config.HeartbeatTimeout / 10):
		}
	}
	if ctx.Err() != nil || l.raft.CurrentTerm() != term {
		// Leadership was lost, and perhaps won again: the next takeOver handles that.
		return
	}
	l.machine.caughtUp()
	l.caughtUp.Store(term)
	l.publish(true)
	l.logger.Info("this node leads the cluster", "term", term,
		"caught_up_in", time.Since(start).Round(time.Millisecond))
	l.announceAddress(ctx)
}

// watchLeader asks for votes when the leader has been silent for a heartbeat timeout plus up to a half. Raft itself
// checks at random times, and may take three timeouts to notice. The half is random, so that two nodes rarely ask at
// the same moment.
func (l *Log) watchLeader() {
	for {
		limit := l.config.HeartbeatTimeout + rand.N(l.config.HeartbeatTimeout/2)
		left := limit
		if contact := l.raft.LastContact(); l.raft.State() == raft.Follower && !contact.IsZero() {
			left = limit - time.Since(contact)
		}
		if left <= 0 {
			l.look()
			left = limit
		}
		select {
		case <-l.stopping:
			return
		case <-l.failure.done:
			return
		case <-time.After(left):
		}
	}
}

// look makes raft check now whether there is a leader. Raft does so when its timeout becomes shorter.
func (l *Log) look() {
	for _, timeout := range []time.Duration{l.config.HeartbeatTimeout + time.Nanosecond, l.config.HeartbeatTimeout} {
		l.reload(func(config *raft.ReloadableConfig) { config.HeartbeatTimeout = timeout })
	}
}

// reload changes raft's configuration.
func (l *Log) reload(change func(*raft.ReloadableConfig)) {
	l.reloading.Lock()
	defer l.reloading.Unlock()
	config := l.raft.ReloadableConfig()
	change(&config)
	if err := l.raft.ReloadConfig(config); err != nil {
		l.logger.Error("raft refused its configuration", "error", err)
	}
}

// watchTransfers fails the node if a transfer of the leadership does not end. Such a node leads, so that no other is
// elected, but refuses everything. Raft gives up a transfer after an election timeout. But it keeps refusing everything
// while its goroutine that talks to the other node hangs, which may last forever, even if the node is elected again
// (hashicorp/raft#696). Only a restart ends this.
func (l *Log) watchTransfers() {
	for {
		select {
		case <-l.stopping:
			return
		case <-l.failure.done:
			return
		case <-l.refused:
		}
		for start := time.Now(); l.takingOver(); {
			if waited := time.Since(start); waited >= l.config.transferTimeout {
				l.failure.set(fmt.Errorf("this node leads, but has refused everything for %v because a transfer of "+
					"the leadership does not end: restart it: nothing that was acknowledged is lost",
					waited.Round(time.Second)))
				return
			}
			select {
			case <-l.stopping:
				return
			case <-l.failure.done:
				return
			case <-time.After(l.config.HeartbeatTimeout):
			}
		}
	}
}

// takingOver says whether this node leads but refuses everything, because another node is taking over.
func (l *Log) takingOver() bool {
	ctx, cancel := context.WithTimeout(context.Background(), l.config.HeartbeatTimeout)
	defer cancel()
	return errors.Is(l.ask(ctx, func() error { return l.raft.Barrier(0).Error() }), errTakingOver)
}

// publish makes leads the next value of Leadership.
func (l *Log) publish(leads bool) {
	select {
	case <-l.leadership:
	default:
	}
	l.leadership <- leads
}

// announceAddress gives the cluster this node's address, if it differs from the one that the cluster knows.
func (l *Log) announceAddress(ctx context.Context) {
	for _, server := range l.servers() {
		if string(server.ID) != l.id || string(server.Address) == l.config.Address {
			continue
		}
		if err := l.AddNode(ctx, l.id, l.config.Address); err != nil {
			l.logger.Warn("could not give the cluster this node's new address yet", "error", err)
			return
		}
		l.logger.Info("this node has a new address", "old", server.Address, "new", l.config.Address)
	}
}

// observe logs what raft notices.
func (l *Log) observe(observations <-chan raft.Observation) {
	leader := raft.ServerID("")
	away := map[raft.ServerID]time.Time{}
	for {
		select {
		case <-l.stopping:
			return
		case observation := <-observations:
			switch event := observation.Data.(type) {
			case raft.LeaderObservation:
				l.observeLeader(&leader, event)
				clear(away)
			case raft.FailedHeartbeatObservation:
				if _, known := away[event.PeerID]; !known {
					since := event.LastContact
					if since.IsZero() {
						// It has been silent since this node became the leader.
						since = time.Now()
					}
					away[event.PeerID] = since
					l.logger.Warn("lost contact with a node", "node", event.PeerID,
						"address", l.addressOf(event.PeerID))
				}
			case raft.ResumedHeartbeatObservation:
				since, known := away[event.PeerID]
				if !known {
					// The previous leader lost contact with it, and logged that.
					continue
				}
				delete(away, event.PeerID)
				l.logger.Info("regained contact with a node", "node", event.PeerID,
					"address", l.addressOf(event.PeerID),
					"away", time.Since(since).Round(time.Millisecond))
			case raft.PeerObservation:
				if event.Removed {
					l.logger.Info("a node has left the cluster", "node", event.Peer.ID, "address", event.Peer.Address)
				}
			}
		}
	}
}

// observeLeader logs that the cluster has lost its leader, or has a new one.
func (l *Log) observeLeader(leader *raft.ServerID, event raft.LeaderObservation) {
	switch {
	case event.LeaderID == *leader:
		return
	case event.LeaderID == "" && *leader == raft.ServerID(l.id):
		l.logger.Warn("this node no longer leads the cluster")
	case event.LeaderID == "":
		l.logger.Warn("the cluster's leader is gone", "leader", *leader)
	case event.LeaderID != raft.ServerID(l.id):
		l.logger.Info("the cluster has a leader", "leader", event.LeaderID, "address", event.LeaderAddr)
	}
	*leader = event.LeaderID
}

// addressOf returns the address of a node of the cluster.
func (l *Log) addressOf(id raft.ServerID) string {
	for _, server := range l.servers() {
		if server.ID == id {
			return string(server.Address)
		}
	}
	return ""
}

// snapshotLoop takes a snapshot when one is due: after a number of entries or bytes, but not so often that snapshots
// take more than a fifth of the time. All nodes of a cluster count the same entries. So each node applies a random
// share of the limits each time, and they don't all write a snapshot at the same moment.
func (l *Log) snapshotLoop() {
	var earliest time.Time
	share := l.snapshotShare()
	for {
		select {
		case <-l.stopping:
			return
		case <-l.failure.done:
			return
		case <-l.machine.due:
		}
		if !l.machine.snapshotDue(share, l.config) || time.Now().Before(earliest) {
			continue
		}
		start := time.Now()
		if err := l.Snapshot(); err != nil {
			l.logger.Debug("no snapshot now", "error", err)
		}
		earliest = time.Now().Add(4 * time.Since(start))
		share = l.snapshotShare()
	}
}

// snapshotShare is the share of the limits after which the next snapshot is due.
func (l *Log) snapshotShare() float64 {
	if len(l.servers()) == 1 {
		return 1
	}
	return 0.5 + rand.Float64()/2
}

// Snapshot takes a snapshot now, and truncates the log.
func (l *Log) Snapshot() error {
	if err := l.failure.err(); err != nil {
		return err
	}
	entries, bytes := l.machine.total()
	l.reload(func(config *raft.ReloadableConfig) {
		config.TrailingLogs = trailing(entries, bytes, l.config.TrailingEntries)
	})
	return translate(l.raft.Snapshot().Error())
}

// trailing returns how many entries stay in the log, at most limit, given what has been applied since the last
// snapshot: trailingBytes, but everything after the last snapshot, should the next one turn out to be unreadable. While
// that is written, the log may grow by as many entries again.
func trailing(entries, bytes, limit uint64) uint64 {
	if bytes == 0 {
		return limit
	}
	return min(limit, max(2*entries, uint64(float64(trailingBytes)*float64(entries)/float64(bytes))))
}
