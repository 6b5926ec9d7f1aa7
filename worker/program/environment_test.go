package program

import (
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// Programs inherit the worker's variables, but neither what is its own nor where it sends traces, and with which key. They may
// have their own.
func TestEnvironmentWithoutTheWorkersOwn(t *testing.T) {
	inherited := []string{
		"HOME=/home/w", "TRELLIS_TOKEN=secret", "OTEL_EXPORTER_OTLP_HEADERS=api-key=secret", "OTEL_SERVICE_NAME=secret",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://secret:4317",
	}
	given := map[string]string{"OTEL_SERVICE_NAME": "own", "TRELLIS_TOKEN": "secret"}
	got := environment(&Config{Program: &trellisv1.Program{Environment: given}}, &folder{}, inherited)
	if all := strings.Join(got, "\n"); strings.Contains(all, "secret") {
		t.Errorf("a program has what is the worker's own:\n%s", all)
	}
	for _, want := range []string{"HOME=/home/w", "OTEL_SERVICE_NAME=own"} {
		if !slices.Contains(got, want) {
			t.Errorf("a program has no %s", want)
		}
	}
}
