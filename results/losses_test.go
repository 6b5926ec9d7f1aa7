package results

import (
	"errors"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestCheckRepeat(t *testing.T) {
	otherNaN := math.Float64frombits(math.Float64bits(math.NaN()) ^ 1)
	losses := &trellisv1.Losses{
		TrainLoss: []float64{1, math.NaN(), 0}, ValidationLoss: []float64{0.5, math.Inf(1), 0.25},
		TestLoss: map[uint32]float64{1: 0.4, 3: math.NaN()},
	}
	for name, test := range map[string]struct {
		epoch             uint32
		train, validation float64
		test              *float64
		same              bool
	}{
		"same":               {1, 1, 0.5, proto.Float64(0.4), true},
		"without test loss":  {1, 1, 0.5, nil, true},
		"other train":        {1, 2, 0.5, nil, false},
		"other validation":   {1, 1, math.Nextafter(0.5, 1), nil, false},
		"other test":         {1, 1, 0.5, proto.Float64(0.5), false},
		"NaN":                {2, math.NaN(), math.Inf(1), nil, true},
		"another NaN":        {2, otherNaN, math.Inf(1), nil, true},
		"a number for NaN":   {2, 1, math.Inf(1), nil, false},
		"other infinity":     {2, math.NaN(), math.Inf(-1), nil, false},
		"test loss is new":   {2, math.NaN(), math.Inf(1), proto.Float64(1), true},
		"negative zero":      {3, math.Copysign(0, -1), 0.25, nil, false},
		"NaN for test":       {3, 0, 0.25, &otherNaN, true},
		"a number for test":  {3, 0, 0.25, proto.Float64(1), false},
		"NaN for validation": {3, 0, math.NaN(), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			entry := reportEntry("s", "a", 1, test.epoch, test.train, test.validation, test.test)
			err := checkRepeat(losses, entry.GetReports(), 0)
			if (err == nil) != test.same {
				t.Errorf("%v, want the same: %v", err, test.same)
			}
		})
	}
}

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
