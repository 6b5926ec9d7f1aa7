package command

import (
	"strings"
	"testing"

	"trellis/command/exit"
)

func TestUnknownKernel(t *testing.T) {
	_, stderr, code := trellis(t, "worker", "--kernel", "abacus")
	if code != exit.Usage || !strings.Contains(stderr, `invalid argument "abacus" for --kernel: must be one that this processor has: `) || !strings.Contains(stderr, "portable") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}
