//go:build !purego && !race

package kernel

import (
	"slices"
	"testing"

	"golang.org/x/sys/cpu"
)

func TestPathsAreThoseOfProcessor(t *testing.T) {
	want := []string{"portable"}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		want = slices.Insert(want, 0, "avx2")
		if cpu.X86.HasAVX512F {
			want = slices.Insert(want, 0, "avx512")
		}
	}
	if got := Paths(); !slices.Equal(got, want) {
		t.Errorf("got paths %q, want %q", got, want)
	}
	if got := active.Load(); got != paths[0] {
		t.Errorf("path %q is in use, want the first of %q", got.name, want)
	}
}

// A processor that is fast with subnormal numbers does nothing to avoid them.
func TestFastSubnormalsAreLikeOthers(t *testing.T) {
	for _, s := range []Shape{Linear(3, 9), {8, 14, 14, 1, 3, 3, 2, 1, 1, 1, true}} {
		for _, slow := range []bool{false, true} {
			withSubnormals(slow, func() {
				conv, err := NewConv(s)
				if err != nil {
					t.Fatal(err)
				}
				kept := conv.forward.subnormals != nil || conv.backward.subnormals != nil || conv.backward.faint ||
					conv.weights.faint != nil
				if kept != (slow && Path() != "portable") {
					t.Errorf("%v: subnormal numbers are kept away: %v, want %v", s, kept, slow)
				}
			})
		}
	}
}

// Channels of linear layers' gradients are done one by one only where no larger block fits.
func TestNextBlockIsLarge(t *testing.T) {
	for _, l := range []layers{avx512Layers, avx2Layers} {
		for vectors, sizes := range l.linearOuter {
			for left := 1; left <= 64 && sizes != nil; left++ {
				next, least := nextBlock(sizes, left).channels, sizes[len(sizes)-2].channels
				if next > left || next == 1 && left >= least {
					t.Errorf("%d values, %d vectors: the next of %d channels are %d", l.vector, vectors, left, next)
				}
			}
		}
	}
}

// With two vectors to a position, each call adds one part, so that the second vector's finds it in the cache.
func TestRunsOfHalvesHaveOnePart(t *testing.T) {
	s := Shape{8, 14, 14, 1, 3, 3, 2, 1, 1, 1, true}
	for _, c := range []struct{ vector, runs int }{{8, (14*14+partPositions-1)/partPositions + 1}, {16, 2}} {
		if o := newOuter(s, c.vector, true); len(o.runs) != c.runs {
			t.Errorf("with vectors of %d there are %d runs, want %d", c.vector, len(o.runs), c.runs)
		}
	}
}

// Inputs are scaled if one that meets a subnormal weight is not zero.
func TestInputsAreScaledIfNeeded(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		if Path() == "portable" {
			return
		}
		conv, err := NewConv(Linear(3, 9), Forward)
		if err != nil {
			t.Fatal(err)
		}
		w, x := slices.Repeat([]float32{0.5}, 27), make([]float32, 3*Lanes)
		x[0], x[2*Lanes] = 1, 1
		needed := func() bool {
			conv.SetWeights(w, nil)
			return conv.forward.subnormals.needed(x)
		}
		if needed() {
			t.Error("inputs are scaled without subnormal weights")
		}
		w[3*8+1] = 1e-40
		if needed() {
			t.Error("inputs are scaled although the one that meets a subnormal weight is zero")
		}
		x[Lanes+9] = 1
		if !needed() {
			t.Error("inputs are not scaled although one meets a subnormal weight")
		}
	})
}
