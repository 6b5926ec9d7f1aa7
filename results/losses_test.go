package results

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestLossesGrow: rows share their arrays, but no row sees what later rows have added, and an append that is never
// committed leaves no trace.
func TestLossesGrow(t *testing.T) {
	store := newStore(t)
	index := createLarge(t, store, "s", 1, 100)
	id := largeRunID(0)
	attempt := grant1(t, store, index, "s", id, "worker")
	var rows, copies []*trellisv1.Losses
	for epoch := range uint32(100) {
		// A change that is given up, as one would be whose command is refused half-way.
		c := store.begin(index, nil)
		ok(t, c.report(reportEntry("s", id, attempt, epoch+1, -1, -1, proto.Float64(-1)).GetReports()))
		c.abort()
		index++
		record(t, store, index, reportEntry("s", id, attempt, epoch+1, 1, float64(epoch), proto.Float64(3)))
		losses, err := store.Snapshot().Losses(nil, "s", id)
		ok(t, err)
		rows, copies = append(rows, losses), append(copies, proto.CloneOf(losses))
	}
	for i, row := range rows {
		equal(t, "an earlier row", row, copies[i])
		if len(row.ValidationLoss) != i+1 || slices.Contains(row.ValidationLoss, -1) {
			t.Errorf("row %d: %v", i, row)
		}
	}
	if _, err := store.Snapshot().Losses(nil, "s", "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("losses of a run that is not there: %v", err)
	}
}
