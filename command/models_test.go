package command

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"trellis/command/exit"
	"trellis/command/fake"
)

// trellis models asks the coordinator.
func TestModelsCommand(t *testing.T) {
	fake := &fake.Coordinator{Models: fake.Models()}
	var out, stderr bytes.Buffer
	if code := Run(context.Background(), []string{"models", "--coordinator", fake.Serve(t), "-o", "csv"}, nil, &out,
		&stderr); code != exit.OK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if text := out.String(); !strings.HasPrefix(text, "name,summary,axes,") ||
		!strings.Contains(text, "fine_tune: 0 or 1, default 0") {
		t.Errorf("wrote\n%s", text)
	}
}
