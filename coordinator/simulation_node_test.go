package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"trellis/coordinator/replication"
	"trellis/coordinator/replication/memnet"
)

var errEnded = errors.New("the process has ended")

// simulatedNode is a machine with a disk on which a coordinator runs, again and again.
type simulatedNode struct {
	s       *simulation
	number  int
	address string
	// id and memory change when the node is wiped; wiped counts that.
	id     string
	memory *replication.Memory
	wiped  atomic.Int64
	// data is the folder of the artifacts.
	data string
	// slow is how long each write takes, in nanoseconds, and hangs says that it may be more than a node puts up with.
	slow  atomic.Int64
	hangs atomic.Bool
	// writing is how many writes the disk is at, and wrote when it began with the last of them.
	writing atomic.Int64
	wrote   atomic.Pointer[time.Time]
	// life is nil while the node is down.
	life atomic.Pointer[nodeLife]
}

// nodeLife is one process on the node.
type nodeLife struct {
	node        *simulatedNode
	id          string
	coordinator *Coordinator
	endpoint    *memnet.Endpoint
	cancel      context.CancelFunc
	// crashed says that what the process still does reaches neither its disk nor anybody, stopping that it was asked to
	// end in order, ended that it has ended.
	crashed, stopping, ended atomic.Bool
	done                     chan struct{}
}

func newSimulatedNode(s *simulation, number int) *simulatedNode {
	n := &simulatedNode{s: s, number: number, address: fmt.Sprintf("node%d:1", number)}
	n.wipe()
	return n
}

// wipe gives a node that is down an empty disk.
func (n *simulatedNode) wipe() {
	n.id = fmt.Sprintf("id%d-%d", n.number, n.wiped.Add(1))
	n.memory, n.data = replication.NewMemory(n.id), n.s.TempDir()
}

// start starts the node, which is down.
func (n *simulatedNode) start() {
	endpoint, err := n.s.network.Listen(n.address)
	if err != nil {
		n.s.wrong("start %s: %v", n.address, err)
		return
	}
	life := &nodeLife{node: n, id: n.id, endpoint: endpoint, done: make(chan struct{})}
	n.memory.Write = func() error { return n.beforeWrite(life) }
	config := Config{
		Numerics: testNumerics, Models: testModels, Lease: simulationLease, HangTimeout: 45 * time.Second,
		CheckpointInterval: 4 * time.Second,
		Data:               n.data, MinFreeDisk: 1, Logger: n.s.logger.With("at", n.address),
	}
	for _, other := range n.s.nodes {
		// The very first node becomes a cluster of one, which the others join.
		if other != n && n.id != "id0-1" {
			config.Join = append(config.Join, other.address)
		}
	}
	var coordinator *Coordinator
	config.hooks = hooks{
		dial: dialThrough(endpoint),
		log:  func(log Log) Log { return hangingLog{log, n} },
		machine: func(machine replication.StateMachine) replication.StateMachine {
			return journaled{StateMachine: machine, journal: n.s.journal, at: n.address, store: coordinator.store}
		},
		replicate: func(config *replication.Config) {
			config.Dir, config.Memory = "", n.memory
			config.SnapshotEntries, config.TrailingEntries = 400, 100
		},
	}
	coordinator, err = New(config, endpoint, memoryDataSets{})
	if err != nil {
		n.s.wrong("start %s: %v", n.address, err)
		return
	}
	life.coordinator = coordinator
	ctx, cancel := context.WithCancel(context.Background())
	life.cancel = cancel
	n.life.Store(life)
	go func() {
		defer close(life.done)
		err := coordinator.Serve(ctx)
		n.life.Store(nil)
		// What still waits for the disk ends with the process.
		life.ended.Store(true)
		switch {
		case life.crashed.Load():
		case err == nil && life.stopping.Load():
		case err != nil && n.hangs.Load():
			n.s.event("gave up", "%s: %v", n.address, err)
		default:
			n.s.wrong("%s ended by itself, or badly: %v", n.address, err)
		}
		endpoint.Close()
		cancel()
	}()
}

// hangingLog does not ask a log to verify its leadership while its disk hangs. Once the disk has failed, raft never answers,
// not even when it is shut down. A process that ends does not mind, but synctest waits for the answer.
type hangingLog struct {
	Log
	node *simulatedNode
}

func (l hangingLog) Verify(ctx context.Context) error {
	if l.node.hangs.Load() {
		return fmt.Errorf("the disk hangs: %w", replication.ErrFailed)
	}
	return l.Log.Verify(ctx)
}

// mayBeReplaced says whether a leader may have been replaced without knowing it: raft does not look while it writes. Once that
// takes longer than an election, the node must know that it does not know.
func (n *simulatedNode) mayBeReplaced() bool {
	return n.writing.Load() > 0 && time.Since(*n.wrote.Load()) <= replication.DefaultHeartbeatTimeout+followInterval
}

// beforeWrite makes the disk as slow as it is. What a process that has ended would still write is not written.
func (n *simulatedNode) beforeWrite(life *nodeLife) error {
	if life.crashed.Load() {
		return nil // It is the copy on which the node starts again.
	}
	now := time.Now()
	n.wrote.Store(&now)
	n.writing.Add(1)
	defer n.writing.Add(-1)
	for began := now; time.Since(began) < time.Duration(n.slow.Load()) && !life.crashed.Load() &&
		!life.ended.Load(); {
		time.Sleep(50 * time.Millisecond) // The clock is synctest's.
	}
	if life.ended.Load() && !life.crashed.Load() {
		return errEnded
	}
	return nil
}

// crash ends the process at once: nothing that it does from now on is written or reaches anybody.
func (n *simulatedNode) crash() {
	life := n.life.Load()
	if life == nil {
		return
	}
	memory, err := n.memory.Copy()
	if err != nil {
		n.s.wrong("crash %s: %v", n.address, err)
	}
	n.memory = memory
	life.crashed.Store(true)
	life.endpoint.Close()
	life.cancel()
	<-life.done
}

// stop ends the process in order.
func (n *simulatedNode) stop() {
	if life := n.life.Load(); life != nil {
		life.stopping.Store(true)
		life.cancel()
		<-life.done
	}
}

// members are the addresses of the cluster's nodes by id, as this one knows them.
func (l *nodeLife) members() map[string]string {
	members := map[string]string{}
	if !l.isOpen() {
		return members
	}
	nodes, err := l.coordinator.replicated.Nodes()
	if err != nil {
		return members
	}
	for _, node := range nodes {
		members[node.ID] = node.Address
	}
	return members
}

// isOpen says whether the process has read its log.
func (l *nodeLife) isOpen() bool {
	select {
	case <-l.coordinator.opened:
		return true
	default:
		return false
	}
}
