//go:build !race

package trainer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"trellis/trainer/kernel"
)

// The self test passes on every path, and notices the least bit.
func TestSelfTest(t *testing.T) {
	skipShort(t)
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	for _, path := range kernel.Paths() {
		if err := kernel.SetPath(path); err != nil {
			t.Fatal(err)
		}
		if err := SelfTest(); err != nil {
			t.Errorf("path %s: %v", path, err)
		}
	}
	kept := slices.Clone(selfTests)
	defer func() { selfTests = kept }()
	selfTests = slices.Clone(kept)
	selfTests[1].validation ^= 1
	err := SelfTest()
	if !errors.Is(err, ErrArithmetic) || !strings.Contains(err.Error(), DenoisingAutoencoder) {
		t.Errorf("with another last bit: got %v, want %v of %s", err, ErrArithmetic, DenoisingAutoencoder)
	}
}

func BenchmarkSelfTest(b *testing.B) {
	for b.Loop() {
		if err := SelfTest(); err != nil {
			b.Fatal(err)
		}
	}
}
