package trajectory

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

// What a Digester appends of sealed runs, one after the other, is what is appended of the runs as they were.
func TestDigester(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		var digester Digester
		for range rapid.IntRange(1, 3).Draw(t, "sections") {
			terms := rapid.SampledFrom(someTerms).Draw(t, "terms")
			var runs []*Trajectory
			for range rapid.IntRange(1, 5).Draw(t, "runs") {
				its := sealable(t, terms)
				if last := len(its.Answers) - 1; rapid.IntRange(0, 4).Draw(t, "earlier answer") == 0 {
					its.Answers[last] = CopyTrial(its.Answers[last])
					its.Answers[last].Epochs = 1
				}
				runs = append(runs, its)
			}
			sealed, err := Seal(runs, func(slot int) []uint64 { return indexesOf(runs[slot]) })
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range rapid.SliceOf(rapid.IntRange(0, len(runs)-1)).Draw(t, "slots") {
				id := [16]byte{byte(slot), 15: 0xa5}
				want := *runs[slot]
				want.Run = CopyRun(want.Run)
				want.Run.Id = hex.EncodeToString(id[:])
				before := []byte("what is before")
				got, err := digester.Append(before, sealed, slot, id, terms)
				if err != nil {
					t.Fatal(err)
				}
				if want := AppendDigested(before, &want); !bytes.Equal(got, want) {
					t.Fatalf("run %d: %x, want %x", slot, got, want)
				}
			}
		}
	})
}
