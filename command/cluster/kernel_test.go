package cluster

import (
	"testing"

	"github.com/spf13/cobra"

	"trellis/trainer/kernel"
)

func TestKernelFlag(t *testing.T) {
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	for _, path := range append([]string{""}, kernel.Paths()...) {
		cmd := new(cobra.Command)
		choose := kernelFlag(cmd)
		want := kernel.Path()
		if path != "" {
			want = path
			if err := cmd.Flags().Set("kernel", path); err != nil {
				t.Fatal(err)
			}
		}
		if err := choose(); err != nil || kernel.Path() != want {
			t.Errorf("--kernel %q: the path in use is %s, error %v", path, kernel.Path(), err)
		}
	}
}
