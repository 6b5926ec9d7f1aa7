package executor

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gorgonia.org/gorgonia"
)

// Team runs batches on several goroutines, with the same bits as on one. What begins and ends a batch is done layer by
// layer, by whoever comes first. Tiles are independent of each other but for the sums over the batch, and each sum
// takes the tiles in their order. A goroutine that is ahead waits for the sum that it is about to add to, not for the
// whole tile before.
//
// Its members are the Machine, and others beside it that have its sums and its weights, but for all else memory of
// their own. It is not safe for concurrent use.
type Team struct {
	machine *Machine
	members []*member
	pace    pace

	// batch are the phases of Run, and parts is that of Each.
	batch, each             []*phase
	begin, tile, end, parts phase
	filler                  Filler
	part                    func(part int)

	// work are the phases under way, and stopped says that one will not be done, so that there is nothing to wait for.
	work    []*phase
	stopped atomic.Bool
	// inside is how many members but the first are at work.
	inside atomic.Int64
	// calls is how many times members were called.
	calls atomic.Int64

	// sleeping wakes the sleepers, who wait for others.
	sleeping *sync.Cond
	sleepers atomic.Int64

	mutex sync.Mutex
	// open is how many members may be at work, of which joined have come. 0: it is over.
	open, joined int
}

// phase is work in parts, which members do as they come. All is done before the next phase begins.
type phase struct {
	count int64
	do    func(m *member, part int)
	// begun is how many parts somebody has begun, and may become larger than count. Done is how many are done.
	begun, done atomic.Int64
}

// Filler fills the inputs of a member with a tile of the batch, on the member's goroutine.
type Filler interface {
	Fill(member, tile int) error
	// Wanted says, between tiles, that goroutines are to leave the batch. Leave is called when so many will do no more
	// for it. The first one stays.
	Wanted() bool
	Leave(members int)
}

// member runs tiles one after another.
type member struct {
	place int
	tile  []func()
	// number is that of the tile that it runs.
	number int64
	// called says that there is a goroutine that looks for work, or will if it gets a processor.
	called bool
	// filling is the error that has stopped it, and err that of its calls. Panicked is what it has panicked with.
	filling  error
	panicked any
	err      *error
}

// NewTeam returns a team of which the Machine is the only member.
func NewTeam(m *Machine) *Team {
	t := &Team{machine: m, sleeping: sync.NewCond(&sync.Mutex{})}
	t.begin.count, t.begin.do = int64(len(m.begin)), func(_ *member, part int) { m.begin[part]() }
	t.tile.do = t.runTile
	t.end.count, t.end.do = int64(len(m.end)), func(_ *member, part int) { m.end[part]() }
	t.parts.do = func(_ *member, part int) { t.part(part) }
	t.batch, t.each = []*phase{&t.begin, &t.tile, &t.end}, []*phase{&t.parts}
	first := &member{tile: slices.Clone(m.tile), err: &m.err}
	for _, s := range m.shared {
		if s.sum {
			first.tile[s.place] = t.inTurn(first, s, m.tile[s.place])
		}
	}
	t.members = append(t.members, first)
	return t
}

// Begin, Tile and End are a batch as a Machine's, of a team without sums over a batch. After Begin, members may run
// tiles at the same time.
func (t *Team) Begin() { t.machine.Begin() }

// Tile runs a tile: see Begin.
func (t *Team) Tile(member int) { run(t.members[member].tile) }

// End ends a batch: see Begin.
func (t *Team) End() error {
	run(t.machine.end)
	return t.finish()
}

// finish ends a batch whose sums have ended.
func (t *Team) finish() error {
	err := t.machine.finish()
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
	added := &member{place: len(t.members), err: &m.err}
	rest := t.machine.shared
	for _, node := range m.computed() {
		if len(rest) > 0 && rest[0].node == node {
			inputs := Inputs(node)
			values := make([][]float32, len(inputs))
			for i, input := range inputs {
				values[i] = memory[input]
			}
			tile := rest[0].beside(memory[node], values...)
			if rest[0].sum {
				tile = t.inTurn(added, rest[0], tile)
			}
			m.tile = append(m.tile, tile)
			rest = rest[1:]
			continue
		}
		call, err := m.bindCall(node, memory)
		if err != nil {
			return fmt.Errorf("compile %v: %w", node.Op(), err)
		}
		if call.Tile != nil {
			m.append(call)
		}
	}
	added.tile = m.tile
	t.members = append(t.members, added)
	return nil
}

// inTurn makes a call that adds the member's tile to a sum once all tiles before it have been added.
func (t *Team) inTurn(m *member, s *shared, tile func()) func() {
	return func() {
		if t.wait(func() bool { return s.next.Load() == m.number || t.stopped.Load() }); t.stopped.Load() {
			return
		}
		tile()
		s.next.Store(m.number + 1)
		t.advance()
	}
}

// wait waits until it is so, of what advance announces.
func (t *Team) wait(so func() bool) {
	// The others are on processors of their own and are there soon, as a rule. If not, they get this one.
	for spins := 0; spins < 4000; spins++ {
		if so() {
			return
		}
		if spins > 1000 {
			runtime.Gosched()
		}
	}
	t.sleeping.L.Lock()
	defer t.sleeping.L.Unlock()
	t.sleepers.Add(1)
	defer t.sleepers.Add(-1)
	for !so() {
		t.sleeping.Wait()
	}
}

// advance wakes those who wait, after something has changed.
func (t *Team) advance() {
	if t.sleepers.Load() > 0 {
		t.sleeping.L.Lock()
		defer t.sleeping.L.Unlock()
		t.sleeping.Broadcast()
	}
}

// stop ends the work before it is done.
func (t *Team) stop() {
	t.stopped.Store(true)
	t.advance()
}

// Shared says whether the next batch is likely to be faster on several members.
func (t *Team) Shared() bool { return t.pace.shared() }

// Run runs a batch of that many tiles on the first members, one of them on this goroutine. An error is the filler's,
// which leaves the sums undefined, or End's. A panic of any member is Run's.
func (t *Team) Run(members, tiles int, filler Filler) error {
	start := time.Now()
	for _, s := range t.machine.shared {
		s.next.Store(0)
	}
	t.filler, t.tile.count = filler, int64(tiles)
	if err := t.run(members, t.batch); err != nil {
		return err
	}
	t.pace.observe(members, tiles, time.Since(start))
	return t.finish()
}

// Each calls do for each of so many parts, in any order, on the first members. A panic of any member is Each's.
func (t *Team) Each(members, parts int, do func(part int)) {
	t.part, t.parts.count = do, int64(parts)
	_ = t.run(members, t.each) // There is nothing to fill.
}

// run does all of the work on the first members.
func (t *Team) run(members int, work []*phase) error {
	t.stopped.Store(false)
	for _, p := range work {
		p.begun.Store(0)
		p.done.Store(0)
	}
	for _, m := range t.members {
		m.filling, m.panicked = nil, nil
	}
	t.work = work
	t.lead(members)
	for _, m := range t.members {
		if m.panicked != nil {
			panic(m.panicked)
		}
		if m.filling != nil {
			return m.filling
		}
	}
	return nil
}

// lead works as the first member, with those others that come.
func (t *Team) lead(members int) {
	ended := false
	if members > 1 {
		t.call(members)
		defer func() {
			if !ended { // It panics.
				t.stop()
			}
			t.close() // Who has not got a processor by now is not waited for.
			t.wait(func() bool { return t.inside.Load() == 0 })
		}()
	}
	t.workAs(t.members[0])
	ended = true
}

// call lets members come.
func (t *Team) call(members int) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.open, t.joined = members, 1
	t.calls.Add(1)
	for _, m := range t.members[1:members] {
		if !m.called {
			m.called = true
			go t.serve(m)
		}
	}
}

// close lets no more members come, and returns how many have not.
func (t *Team) close() (absent int) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	absent = max(0, t.open-t.joined)
	t.open = 0
	return absent
}

// linger is how often a member looks for the next call before its goroutine ends: for some 20 microseconds.
const linger = 30_000

// serve works as the member whenever it is called, until there is no call for a while.
func (t *Team) serve(m *member) {
	for seen, ok := t.join(m, 0); ok; seen, ok = t.join(m, seen) {
		if !t.workBeside(m) {
			seen = math.MaxInt64
			continue
		}
		// The next call comes at once, as a rule, when a new goroutine would have to wait for a processor to wake.
		for i := 0; i < linger && t.calls.Load() == seen; i++ {
		}
	}
}

// join joins the work, unless it has been seen before, and says which it is.
func (t *Team) join(m *member, seen int64) (calls int64, ok bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	calls = t.calls.Load()
	if m.called = calls > seen && m.place < t.open; !m.called {
		return calls, false
	}
	t.joined++
	t.inside.Add(1)
	return calls, true
}

// workBeside works as a member that has joined, and says whether it has stayed to the end.
func (t *Team) workBeside(m *member) (stayed bool) {
	defer func() {
		if m.panicked = recover(); m.panicked != nil {
			t.stop()
		}
		t.inside.Add(-1)
		t.advance()
	}()
	return t.workAs(m)
}

// workAs does parts of the work until all have been done. It says whether the member has stayed to the end.
func (t *Team) workAs(m *member) (stayed bool) {
	for _, p := range t.work {
		for !t.stopped.Load() {
			if p == &t.tile && t.filler.Wanted() && !t.yield(m) {
				return false
			}
			part := p.begun.Add(1) - 1
			if part >= p.count {
				break
			}
			p.do(m, int(part))
			p.done.Add(1)
			t.advance()
		}
		if t.wait(func() bool { return p.done.Load() == p.count || t.stopped.Load() }); t.stopped.Load() {
			return false
		}
	}
	return true
}

// yield lets a member leave, or if it is the first one those that have not come. It says whether it stays.
func (t *Team) yield(m *member) (stays bool) {
	if m.place > 0 {
		t.filler.Leave(1)
		return false
	}
	if absent := t.close(); absent > 0 {
		t.filler.Leave(absent)
	}
	return true
}

// runTile runs a tile on a member.
func (t *Team) runTile(m *member, tile int) {
	m.number = int64(tile)
	if m.filling = t.filler.Fill(m.place, tile); m.filling != nil {
		t.stop()
		return
	}
	run(m.tile)
}
