package executor

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gorgonia.org/gorgonia"
)

// Team runs the tiles of a batch on several goroutines, with the same bits as on one: tiles are independent of each
// other but for the sums over the batch, and each sum takes the tiles in their order. A goroutine that is ahead waits
// for the sum that it is about to add to, not for the whole tile before.
//
// Its members are the Machine, and others beside it that have its sums and its weights, but for all else memory of
// their own. It is not safe for concurrent use.
type Team struct {
	machine *Machine
	members []*member
	pace    pace
	// stopped says that a tile will not be run, so that there is nothing to wait for.
	stopped atomic.Bool
	// begun is how many tiles of the batch somebody has begun.
	begun atomic.Int64

	mutex sync.Mutex
	// batch is what there is to do, and may be joined by its first members.
	batch batch
	// inside is how many of the other members have joined the batch. Left is signaled when the last of these leaves.
	inside int
	left   *sync.Cond
}

// batch is a number of tiles for a number of members. The zero value is none.
type batch struct {
	members, tiles int
	filler         Filler
}

// Filler fills the inputs of a member with a tile of the batch, on the member's goroutine. There it has begun the batch
// before.
type Filler interface {
	Begin(member int)
	Fill(member, tile int) error
}

// member runs tiles one after another.
type member struct {
	begin, tile []func()
	// number is that of the tile that it runs.
	number int64
	// called says that there is a goroutine that will join a batch, if it gets a processor before all tiles are begun.
	called bool
	// filling is the error that has stopped it, and err that of its calls. Panicked is what it has panicked with.
	filling  error
	panicked any
	err      *error
}

// NewTeam returns a team of which the Machine is the only member.
func NewTeam(m *Machine) *Team {
	t := &Team{machine: m}
	t.left = sync.NewCond(&t.mutex)
	first := &member{begin: m.begin, tile: slices.Clone(m.tile), err: &m.err}
	for _, s := range m.sums {
		first.tile[s.place] = t.inTurn(first, s, m.tile[s.place])
	}
	t.members = append(t.members, first)
	return t
}

// Begin, Tile and End are a member's part of a batch as a Machine's, of a team without sums over a batch.
func (t *Team) Begin(member int) { run(t.members[member].begin) }

// Tile runs a tile: see Begin.
func (t *Team) Tile(member int) { run(t.members[member].tile) }

// End ends a batch: see Begin.
func (t *Team) End() error {
	err := t.machine.End()
	for _, m := range t.members[1:] {
		if err == nil {
			err = *m.err
		}
		*m.err = nil
	}
	return err
}

// Add adds a member. Own is its memory for those inputs and outputs whose values are a tile's. Whoever calls it holds
// operation.Building.
func (t *Team) Add(own map[*gorgonia.Node][]float32) error {
	m := &Machine{order: t.machine.order, inputs: t.machine.inputs, own: t.machine.own}
	memory, err := m.place(func(node *gorgonia.Node) ([]float32, error) {
		if values := own[node]; values != nil {
			return values, nil
		}
		return bound(node)
	})
	if err != nil {
		return err
	}
	added := &member{err: &m.err}
	sums := t.machine.sums
	for _, node := range m.computed() {
		if len(sums) > 0 && sums[0].node == node {
			inputs := Inputs(node)
			values := make([][]float32, len(inputs))
			for i, input := range inputs {
				values[i] = memory[input]
			}
			m.tile = append(m.tile, t.inTurn(added, sums[0], sums[0].beside(values...)))
			sums = sums[1:]
			continue
		}
		call, err := m.bindCall(node, memory)
		if err != nil {
			return fmt.Errorf("compile %v: %w", node.Op(), err)
		}
		if call.End == nil {
			m.append(call)
		}
	}
	added.begin, added.tile = m.begin, m.tile
	t.mutex.Lock() // A goroutine that was called for a batch before may look for its member.
	defer t.mutex.Unlock()
	t.members = append(t.members, added)
	return nil
}

// inTurn makes a call that adds the member's tile to a sum once all tiles before it have been added.
func (t *Team) inTurn(m *member, s *sum, tile func()) func() {
	return func() {
		// The others are on processors of their own and are there soon, as a rule. If not, they get this one.
		for spins := 0; s.next.Load() != m.number; spins++ {
			if t.stopped.Load() {
				return
			}
			switch {
			case spins > 10_000:
				time.Sleep(20 * time.Microsecond)
			case spins > 1000:
				runtime.Gosched()
			}
		}
		tile()
		s.next.Store(m.number + 1)
	}
}

// Shared says whether the next batch is likely to be faster on several members.
func (t *Team) Shared() bool { return t.pace.shared() }

// Run runs a batch of that many tiles on the first members, one of them on this goroutine. An error is the filler's,
// which leaves the sums undefined, or End's. A panic of any member is Run's.
func (t *Team) Run(members, tiles int, filler Filler) error {
	start := time.Now()
	t.stopped.Store(false)
	t.begun.Store(0)
	for _, s := range t.machine.sums {
		s.next.Store(0)
	}
	for _, m := range t.members {
		m.filling, m.panicked = nil, nil
	}
	t.runTiles(batch{members, tiles, filler})
	for _, m := range t.members {
		if m.panicked != nil {
			panic(m.panicked)
		}
		if m.filling != nil {
			return m.filling
		}
	}
	t.pace.observe(members, tiles, time.Since(start))
	return t.End()
}

func (t *Team) runTiles(b batch) {
	first, ended := t.members[0], false
	run(first.begin) // Sums are zero before anybody adds to them.
	if b.members > 1 {
		t.call(b)
		defer func() {
			if !ended { // It panics.
				t.stopped.Store(true)
			}
			t.close()
		}()
	}
	b.filler.Begin(0)
	t.work(first, 0, b)
	ended = true
}

// call lets members join the batch.
func (t *Team) call(b batch) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.batch = b
	for k := 1; k < b.members; k++ {
		if m := t.members[k]; !m.called {
			m.called = true
			go t.join(m, k)
		}
	}
}

// join works on the batch that there is, if there is one by now.
func (t *Team) join(m *member, k int) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	m.called = false
	b := t.batch
	if k >= b.members {
		return
	}
	t.inside++
	t.mutex.Unlock()
	defer func() {
		m.panicked = recover()
		if m.panicked != nil {
			t.stopped.Store(true)
		}
		t.mutex.Lock()
		if t.inside--; t.inside == 0 {
			t.left.Signal()
		}
	}()
	run(m.begin)
	b.filler.Begin(k)
	t.work(m, k, b)
}

// close waits for those who have joined the batch. Who has not got a processor by now is not waited for.
func (t *Team) close() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.batch = batch{}
	for t.inside > 0 {
		t.left.Wait()
	}
}

// work runs tiles on a member, the k-th, until all have been begun.
func (t *Team) work(m *member, k int, b batch) {
	for !t.stopped.Load() {
		if m.number = t.begun.Add(1) - 1; m.number >= int64(b.tiles) {
			return
		}
		if m.filling = b.filler.Fill(k, int(m.number)); m.filling != nil {
			t.stopped.Store(true)
			return
		}
		run(m.tile)
	}
}
