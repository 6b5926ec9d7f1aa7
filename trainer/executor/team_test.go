package executor

import (
	"errors"
	"math/rand/v2"
	"slices"
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
	// fails is the tile that can't be filled, -1 for none.
	fails int
}

var errFilled = errors.New("can't be filled")

func (f *filled) Begin(int) {}

func (f *filled) Fill(member, tile int) error {
	if tile == f.fails {
		return errFilled
	}
	stream.New(f.seed, stream.Weights, tile).Uniform(f.x[member], 1)
	return nil
}

// A batch has the same bits on any number of members, whichever they are from one batch to the next, and after a batch
// that failed.
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
	filler, want := &filled{x: [][]float32{values(f.x)}}, &filled{x: [][]float32{values(alone.x)}, fails: -1}
	operation.Building.Lock()
	for range 3 {
		x := kernel.Values(features * kernel.Lanes)
		filler.x = append(filler.x, x)
		if err := team.Add(map[*gorgonia.Node][]float32{f.x: x}); err != nil {
			t.Fatal(err)
		}
	}
	operation.Building.Unlock()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for batch := range uint32(200) {
		members, tiles := 1+random.IntN(4), 1+random.IntN(20)
		filler.seed, want.seed, filler.fails = batch, batch, -1
		if random.IntN(10) == 0 {
			filler.fails = random.IntN(tiles)
			if err := team.Run(members, tiles, filler); !errors.Is(err, errFilled) {
				t.Fatalf("tile %d of %d can't be filled: got error %v", filler.fails, tiles, err)
			}
			continue
		}
		if err := team.Run(members, tiles, filler); err != nil {
			t.Fatal(err)
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

// panicking panics when a member is to be filled.
type panicking struct{ member int }

func (p panicking) Begin(int) {}

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
	operation.Building.Lock()
	err = team.Add(map[*gorgonia.Node][]float32{f.x: kernel.Values(features * kernel.Lanes)})
	operation.Building.Unlock()
	if err != nil {
		t.Fatal(err)
	}
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

// A goroutine that was called for a batch may get its processor only when the team grows or runs another batch.
func TestTeamGrowsBesideLateGoroutines(t *testing.T) {
	for range 20 {
		f := newForked(t)
		machine, err := New(append(f.gradients, f.loss)...)
		if err != nil {
			t.Fatal(err)
		}
		team, filler := NewTeam(machine), &filled{x: [][]float32{values(f.x)}, fails: -1}
		for range 4 {
			x := kernel.Values(features * kernel.Lanes)
			filler.x = append(filler.x, x)
			operation.Building.Lock()
			err := team.Add(map[*gorgonia.Node][]float32{f.x: x})
			operation.Building.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			if err := team.Run(len(filler.x), 1, filler); err != nil {
				t.Fatal(err)
			}
		}
	}
}
