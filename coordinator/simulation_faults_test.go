package coordinator

import (
	"context"
	"slices"
	"time"
)

// fault is something that happens at some time of a simulation. Its numbers are drawn from the seed.
type fault struct {
	kind   string
	after  time.Duration
	lasts  time.Duration
	node   int
	other  int
	worker int
	// leader says that the node is the one that leads then.
	leader bool
	// choice tells variants apart.
	choice int
}

// faultKinds are the kinds of faults, with how often they come.
var faultKinds = []struct {
	kind  string
	often int
}{
	{"crash", 14},
	{"restart", 6},
	{"isolate", 10},
	{"one way", 10},
	{"flap", 6},
	{"slow disk", 8},
	{"hung disk", 3},
	{"transfer", 8},
	{"replace", 4},
	{"worker cut off", 10},
	{"worker dies", 10},
	{"worker stops", 10},
	{"worker drains", 5},
	{"session breaks", 8},
	{"all sessions break", 2},
}

// schedule draws the faults of a simulation.
func (s *simulation) schedule() (faults []fault) {
	random := s.random("faults", 0)
	total := 0
	for _, kind := range faultKinds {
		total += kind.often
	}
	for at := time.Duration(0); ; {
		f := fault{
			after: time.Duration(random.ExpFloat64() * float64(s.size.pause)),
			lasts: 200*time.Millisecond + time.Duration(random.ExpFloat64()*float64(5*time.Second)),
			node:  random.IntN(3), other: 1 + random.IntN(2), worker: random.IntN(s.size.workers),
			leader: random.IntN(2) == 0,
			choice: random.IntN(4),
		}
		f.lasts = min(f.lasts, 25*time.Second)
		draw := random.IntN(total)
		for _, kind := range faultKinds {
			if draw -= kind.often; draw < 0 {
				f.kind = kind.kind
				break
			}
		}
		if at += f.after; at > s.size.faults {
			return faults
		}
		faults = append(faults, f)
	}
}

// injectFaults runs the schedule. A fault of a node waits for the one before it on that node.
func (s *simulation) injectFaults() {
	busy := [3]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)}
	for _, f := range s.schedule() {
		s.sleep(f.after)
		if f.leader {
			if leader := s.leader(); leader != nil {
				f.node = slices.IndexFunc(s.nodes, func(n *simulatedNode) bool { return n.life.Load() == leader })
			}
			f.node = max(f.node, 0)
		}
		f.other = (f.node + f.other) % 3
		s.under.Go(func() {
			switch f.kind {
			case "crash", "restart", "slow disk", "hung disk", "replace":
				busy[f.node] <- struct{}{}
				defer func() { <-busy[f.node] }()
			}
			s.inject(f)
		})
	}
}

// inject makes one fault happen, and mends it.
func (s *simulation) inject(f fault) {
	n := s.nodes[f.node]
	others := []string{s.nodes[(f.node+1)%3].address, s.nodes[(f.node+2)%3].address}
	machine := s.workers[f.worker]
	switch f.kind {
	case "crash":
		s.event(f.kind, "%s for %v", n.address, f.lasts)
		n.crash()
		s.sleep(f.lasts)
		n.start()
	case "restart":
		s.event(f.kind, "%s", n.address)
		n.stop()
		n.start()
	case "isolate":
		s.event(f.kind, "%s from the other nodes for %v", n.address, f.lasts)
		s.cutFor(f.lasts, pairs([]string{n.address}, others, true))
	case "one way":
		from, to := []string{n.address}, []string{s.nodes[f.other].address}
		if f.choice >= 2 {
			to = others
		}
		if f.choice%2 == 1 {
			from, to = to, from
		}
		s.event(f.kind, "from %v to %v for %v", from, to, f.lasts)
		s.cutFor(f.lasts, pairs(from, to, false))
	case "flap":
		s.event(f.kind, "%s and %s for %v", n.address, s.nodes[f.other].address, f.lasts)
		links := pairs([]string{n.address}, []string{s.nodes[f.other].address}, f.choice > 0)
		for left := f.lasts; left > 0; left -= 800 * time.Millisecond {
			s.cutFor(400*time.Millisecond, links)
			s.sleep(400 * time.Millisecond)
		}
	case "slow disk":
		slow := f.lasts / 20
		s.event(f.kind, "%s: %v for each write, for %v", n.address, slow, f.lasts)
		n.slow.Store(int64(slow))
		s.sleep(f.lasts)
		n.slow.Store(0)
	case "hung disk":
		s.event(f.kind, "%s", n.address)
		n.hangs.Store(true)
		n.slow.Store(int64(time.Minute))
		s.sleep(15*time.Second + f.lasts)
		n.slow.Store(0)
		// A node that had nothing to write goes on.
		s.sleep(5 * time.Second)
		n.hangs.Store(false)
		if n.life.Load() == nil {
			n.start()
		}
	case "transfer":
		s.event(f.kind, "to %s", n.address)
		// A leader whose disk hangs is not asked: see hangingLog.
		leader, to := s.leader(), n.life.Load()
		if leader != nil && to != nil && leader != to && !leader.node.hangs.Load() {
			ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
			defer cancel()
			_ = leader.coordinator.replicated.TransferLeadership(ctx, to.id)
		}
	case "replace":
		s.replace(n)
	case "worker cut off":
		nodes := []string{s.nodes[0].address, s.nodes[1].address, s.nodes[2].address}
		if f.choice > 1 {
			nodes = nodes[f.node : f.node+1]
		}
		s.event(f.kind, "%s from %v for %v", machine.address(), nodes, 2*f.lasts)
		s.cutFor(2*f.lasts, pairs([]string{machine.address()}, nodes, f.choice%2 == 0))
	case "worker dies":
		s.befall(f.kind, machine, workerFault{workerDies, f.lasts})
	case "worker stops":
		s.befall(f.kind, machine, workerFault{workerStops, simulationLease/2 + 2*f.lasts})
	case "worker drains":
		s.befall(f.kind, machine, workerFault{workerDrains, 0})
	case "session breaks":
		s.befall(f.kind, machine, workerFault{workerBreaks, 0})
	case "all sessions break":
		for _, machine := range s.workers {
			s.befall(f.kind, machine, workerFault{workerBreaks, 0})
		}
	default:
		panic("unknown fault " + f.kind)
	}
}

// befall hands a fault to a machine, unless it has its hands full.
func (s *simulation) befall(kind string, machine *simulatedMachine, f workerFault) {
	select {
	case machine.faults <- f:
		s.event(kind, "%s for %v", machine.address(), f.lasts)
	default:
	}
}

// replace removes a node from the cluster, empties its disk, and has it join again as another.
func (s *simulation) replace(n *simulatedNode) {
	leader := s.leader()
	if leader == nil || leader.node.hangs.Load() || len(leader.members()) != len(s.nodes) {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	err := leader.coordinator.replicated.RemoveNode(ctx, n.id)
	s.event("replace", "remove %s: %v", n.address, err)
	if err != nil {
		return // It may be removed all the same: mendCluster adds it again then.
	}
	n.crash()
	n.wipe()
	s.sleep(time.Second)
	n.start()
	// Until it is a member again, the cluster can't do without any other.
	for began := time.Now(); time.Since(began) < time.Minute; s.sleep(100 * time.Millisecond) {
		if leader := s.leader(); leader != nil && leader.members()[n.id] != "" {
			return
		}
	}
}

// link is one direction between two addresses.
type link = [2]string

// pairs are the links from some addresses to others, and back.
func pairs(from, to []string, back bool) (links []link) {
	for _, a := range from {
		for _, b := range to {
			links = append(links, link{a, b})
			if back {
				links = append(links, link{b, a})
			}
		}
	}
	return links
}

// cutFor cuts links for a while. Other faults may cut the same ones.
func (s *simulation) cutFor(d time.Duration, links []link) {
	s.mu.Lock()
	for _, l := range links {
		s.links[l]++
		s.network.Cut(l[0], l[1])
	}
	s.mu.Unlock()
	s.sleep(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range links {
		s.links[l]--
	}
	// The network mends all links at once: for a moment, too many.
	s.network.Heal()
	for l, cuts := range s.links {
		if cuts > 0 {
			s.network.Cut(l[0], l[1])
		}
	}
}
