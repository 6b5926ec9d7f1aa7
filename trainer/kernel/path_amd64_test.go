//go:build !purego

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
