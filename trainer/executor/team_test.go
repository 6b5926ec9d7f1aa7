package executor

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

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
