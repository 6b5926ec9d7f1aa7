package chronicle

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTimes: whatever is noted, every command's time is off by no more than is said, and what is remembered is bounded.
func TestTimes(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		var c Chronicle
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		all, at, index := map[uint64]time.Time{}, start, uint64(0)
		count := rapid.IntRange(1, 40).Draw(t, "runs of commands")
		for range count {
			gap := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "gap"))
			for range rapid.IntRange(1, 1000).Draw(t, "commands") {
				index += rapid.Uint64Range(1, 3).Draw(t, "step")
				at = at.Add(gap)
				all[index] = at
				c.Note(index, at)
			}
		}
		if len(c.marks) > maxMarks {
			t.Fatalf("%d commands are remembered", len(c.marks))
		}
		for index, want := range all {
			got, within, known := c.At(index)
			if !known || got.Sub(want).Abs() > within {
				t.Fatalf("command %d: %v within %v (%v), was %v", index, got, within, known, want)
			}
			if before := c.Index(want); before > 0 && all[before].After(want) {
				t.Fatalf("command %d is not before %v", before, want)
			}
		}
		if last, _ := c.Last(); !last.Equal(at) {
			t.Fatalf("the last was at %v, want %v", last, at)
		}
	})
}

// TestAdded: what is added later, in any order, is known too.
func TestAdded(t *testing.T) {
	var c Chronicle
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c.Note(100, start.Add(100*time.Second))
	c.Add(map[uint64]time.Time{50: start.Add(50 * time.Second), 10: start.Add(10 * time.Second)})
	if _, _, known := c.At(9); known {
		t.Error("a command before all is known")
	}
	at, within, known := c.At(30)
	if !known || !at.Equal(start.Add(30*time.Second)) || within != 20*time.Second {
		t.Errorf("got %v within %v (%v)", at, within, known)
	}
	if got := c.Index(start.Add(60 * time.Second)); got != 50 {
		t.Errorf("the last before is %d, want 50", got)
	}
}
