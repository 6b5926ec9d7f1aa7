//go:build soak

package main

import (
	"flag"
	"os/exec"
	"testing"
	"time"
)

// fuzzTime is how long each target is fuzzed.
var fuzzTime = flag.Duration("fuzz-each", 10*time.Minute, "how long each target is fuzzed")

// TestFuzz fuzzes each target. What fails is written to the package's testdata/fuzz: make it a seed of the target.
func TestFuzz(t *testing.T) {
	for _, target := range fuzzTargets(t) {
		t.Run(target.name, func(t *testing.T) {
			// The coverage of what has goroutines differs from time to time, and minimizing would take all of the time.
			out, err := exec.CommandContext(t.Context(), "go", "test", "-run", "^$", "-fuzz", "^"+target.name+"$",
				"-fuzztime", fuzzTime.String(), "-fuzzminimizetime", "1s", "-parallel", "1", "-timeout", "0",
				"./"+target.folder).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
