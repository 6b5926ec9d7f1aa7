package command

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

// A grid of 10^12 points is refused at once and without memory to speak of: by the command, and by a coordinator that
// is called without it.
func TestHugeGrid(t *testing.T) {
	_, address := startCoordinator(t)
	t.Run("command", func(t *testing.T) {
		start := time.Now()
		_, stderr, code := trellis(t, "submit", "--coordinator", address, "spec/testdata/spec/huge_grid.yaml")
		elapsed := time.Since(start)
		fmt.Fprintf(t.Output(), "submit answered in %v\n", elapsed)
		if code != exit.Usage || !strings.Contains(stderr, "huge_grid.yaml:5:3: this grid has 1,000,000,000,000 "+
			"points") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		if elapsed > patience {
			t.Errorf("it took %v", elapsed)
		}
	})
	t.Run("coordinator", func(t *testing.T) {
		c := connect(t, address)
		span := func(from, to float64) *trellisv1.Range { return &trellisv1.Range{From: from, To: to, Count: 10000} }
		spec := &trellisv1.StudySpec{
			Name: "huge", Model: "synthetic",
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim":    trellisv1.AxisOf[int](1),
				"learning_rate": {Log10: span(1e-6, 1)},
				"weight_decay":  {Linear: span(0, 1)},
				"max_epochs":    {Linear: span(1, 10000)},
			}}},
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := c.Create(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
		elapsed := time.Since(start)
		runtime.ReadMemStats(&after)
		fmt.Fprintf(t.Output(), "the coordinator answered in %v\n", elapsed)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "1,000,000,000,000 points") {
			t.Errorf("got %v", err)
		}
		if elapsed > patience {
			t.Errorf("it took %v", elapsed)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("the client allocated %d bytes", used)
		}
	})
}
