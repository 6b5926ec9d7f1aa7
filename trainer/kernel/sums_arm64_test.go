//go:build !race

package kernel

import "testing"

// A compiler that ceases to fuse costs nothing but time; but it should not go unnoticed.
func TestCompilerFuses(t *testing.T) {
	if !fuses {
		t.Error("the compiler does not fuse multiply-adds: everything is emulated, and slow")
	}
}
