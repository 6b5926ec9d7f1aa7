package command

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

// delete --report deletes a report, and no study of its name.
func TestDeleteReport(t *testing.T) {
	t.Parallel()
	_, address := startCoordinator(t, "--in-memory")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	papers := trellisv1.NewPaperServiceClient(conn)
	if _, err := papers.PutPaperReport(t.Context(), &trellisv1.PutPaperReportRequest{Report: &trellisv1.PaperReport{
		Name: "paper", Title: "A paper", State: trellisv1.PaperState_PAPER_STATE_STOPPED,
	}}); err != nil {
		t.Fatal(err)
	}
	complete := []string{"__complete", "delete", "--coordinator", address}
	if got := mustTrellis(t, append(complete, "--report", "")...); !strings.HasPrefix(got, "paper\n") {
		t.Errorf("reports are completed with %q", got)
	}
	if got := mustTrellis(t, append(complete, "")...); strings.Contains(got, "paper") {
		t.Errorf("studies are completed with %q", got)
	}
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, `
name: paper
model: synthetic
grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}
`))
	remove := []string{"delete", "--report", "--coordinator", address, "paper"}
	if _, stderr, code := trellis(t, remove...); code != exit.Usage || !strings.Contains(stderr, "--yes") {
		t.Errorf("without --yes: %d %s", code, stderr)
	}
	if got := mustTrellis(t, append(remove, "--yes")...); got != "Report paper deleted.\n" {
		t.Errorf("it says %q", got)
	}
	if _, stderr, code := trellis(t, append(remove, "--yes")...); code == exit.OK || !strings.Contains(stderr, `report "paper" not found`) {
		t.Errorf("again: %d %s", code, stderr)
	}
	mustTrellis(t, "study", "--coordinator", address, "paper")
}
