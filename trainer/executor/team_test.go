package executor

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorgonia.org/gorgonia"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
	"trellis/trainer/stream"
)

// filled fills the input of each member of a team for the forked graph.
type filled struct {
	x    [][]float32
	seed uint32
	// fails is the tile that can't be filled, -1 for none, and leaves that from which on members are to leave.
	fails, leaves int64
	// filled is how many tiles have been, and left how many members will fill none.
	filled, left atomic.Int64
}

var errFilled = errors.New("can't be filled")

func (f *filled) Wanted() bool {
	if f.leaves == 0 {
		time.Sleep(100 * time.Microsecond) // So that others may come first.
	}
	return f.filled.Load() >= f.leaves
}

func (f *filled) Leave(members int) { f.left.Add(int64(members)) }

func (f *filled) Fill(member, tile int) error {
	f.filled.Add(1)
	if int64(tile) == f.fails {
		return errFilled
	}
	stream.New(f.seed, stream.Weights, tile).Uniform(f.x[member], 1)
	return nil
}

// A batch has the same bits on any number of members, whichever they are from one batch to the next, and whether they
// leave in the middle; after a batch that failed; and beside goroutines that come when their batch is over.
func TestTeamHasTheMachinesBits(t *testing.T) {
	f, alone := newForked(t), newForked(t)
	machine, err := New(append(alone.gradients, alone.loss)...)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := New(append(f.gradients, f.loss)...)
	if err != nil {
		t.Fatal(err)
	}
	team := NewTeam(ours)
	filler := &filled{x: [][]float32{values(f.x)}}
	want := &filled{x: [][]float32{values(alone.x)}, fails: -1}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for batch := range uint32(300) {
		if len(filler.x) < 4 && random.IntN(10) == 0 {
			filler.x = append(filler.x, addMember(t, team, f))
		}
		members, tiles := 1+random.IntN(len(filler.x)), 1+random.IntN(20)
		if random.IntN(3) > 0 {
			members = len(filler.x)
		}
		filler.seed, want.seed, filler.fails, filler.leaves = batch, batch, -1, math.MaxInt64
		filler.filled.Store(0)
		filler.left.Store(0)
		if random.IntN(3) == 0 {
			filler.leaves = random.Int64N(4)
		}
		if random.IntN(10) == 0 {
			filler.fails = random.Int64N(int64(tiles))
			if err := team.Run(members, tiles, filler); !errors.Is(err, errFilled) {
				t.Fatalf("tile %d of %d can't be filled: got error %v", filler.fails, tiles, err)
			}
			continue
		}
		updateParameters(f.parameters, alone.parameters, batch)
		if err := team.Run(members, tiles, filler); err != nil {
			t.Fatal(err)
		}
		if left := int(filler.left.Load()); left >= members || filler.leaves == 0 && left != members-1 {
			t.Fatalf("%d of %d members have left after %d of %d tiles", left, members, filler.leaves, tiles)
		}
		machine.Begin()
		for tile := range tiles {
			if err := want.Fill(0, tile); err != nil {
				t.Fatal(err)
			}
			machine.Tile()
		}
		if err := machine.End(); err != nil {
			t.Fatal(err)
		}
		if got, want := values(f.loss)[0], values(alone.loss)[0]; got != want {
			t.Fatalf("batch %d, %d tiles on %d members: loss %v, want %v", batch, tiles, members, got, want)
		}
		for i, gradient := range f.gradients {
			if got, want := values(gradient), values(alone.gradients[i]); !slices.Equal(got, want) {
				t.Fatalf("batch %d, %d tiles on %d members: gradient %d begins %v, want %v",
					batch, tiles, members, i, got[:3], want[:3])
			}
		}
	}
}

// addMember adds a member to the graph's team, and returns its input.
func addMember(t *testing.T, team *Team, f *forked) (x []float32) {
	t.Helper()
	operation.Building.Lock()
	defer operation.Building.Unlock()
	x = kernel.Values(features * kernel.Lanes)
	if err := team.Add(map[*gorgonia.Node][]float32{f.x: x}); err != nil {
		t.Fatal(err)
	}
	return x
}

// updateParameters gives two graphs the same new weights, as a solver does between two batches.
func updateParameters(a, b gorgonia.Nodes, batch uint32) {
	for i := range a {
		stream.New(batch, stream.Weights, i).Uniform(values(a[i]), 0.5)
		copy(values(b[i]), values(a[i]))
	}
}

// Parts of work that is not a batch's are done once each.
func TestTeamDoesEachPart(t *testing.T) {
	f := newForked(t)
	machine, err := New(append(f.gradients, f.loss)...)
	if err != nil {
		t.Fatal(err)
	}
	team := NewTeam(machine)
	for members := range 3 {
		if members > 0 {
			addMember(t, team, f)
		}
		for parts := range 100 {
			done := make([]atomic.Int32, parts)
			team.Each(members+1, parts, func(part int) { done[part].Add(1) })
			for part := range done {
				if times := done[part].Load(); times != 1 {
					t.Fatalf("part %d of %d was done %d times on %d members", part, parts, times, members+1)
				}
			}
		}
	}
}

// panicking panics when a member is to be filled.
type panicking struct{ member int }

func (p panicking) Wanted() bool { return false }

func (p panicking) Leave(int) {}

func (p panicking) Fill(member, _ int) error {
	if member == p.member {
		panic("a fault")
	}
	time.Sleep(time.Millisecond) // So that others get tiles too.
	return nil
}

// A panic of any member is the caller's, and leaves no goroutine behind.
func TestTeamPanics(t *testing.T) {
	f := newForked(t)
	machine, err := New(append(f.gradients, f.loss)...)
	if err != nil {
		t.Fatal(err)
	}
	team := NewTeam(machine)
	addMember(t, team, f)
	for member := range 2 {
		func() {
			defer func() {
				if cause := recover(); cause != "a fault" {
					t.Errorf("member %d panics: the caller gets %v", member, cause)
				}
			}()
			_ = team.Run(2, 1_000_000, panicking{member})
		}()
		goleak.VerifyNone(t)
	}
}
