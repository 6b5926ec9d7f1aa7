package pruning

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestStandings checks the tree against a list that is sorted, and that adding leaves what there was as it is.
func TestStandings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree *Standings
		var list []Standing
		if n := rapid.IntRange(0, 20).Draw(t, "at once"); n > 0 {
			for i := range n {
				list = append(list, Standing{Result: float64(i / 2), FirstTrial: uint64(i)})
			}
			tree = NewStandings(list)
		}
		for range rapid.IntRange(0, 60).Draw(t, "one by one") {
			added := Standing{
				Result:     float64(rapid.IntRange(0, 5).Draw(t, "result")),
				FirstTrial: uint64(100 + len(list)),
			}
			before, had := tree, slices.Clone(list)
			tree = tree.With(added)
			list = append(list, added)
			slices.SortFunc(list, Standing.Compare)
			if got := slices.Collect(before.All); !slices.Equal(got, had) {
				t.Fatalf("what there was is now %v, was %v", got, had)
			}
		}
		if got := slices.Collect(tree.All); !slices.Equal(got, list) || tree.Size() != len(list) {
			t.Fatalf("%d standings %v, want %v", tree.Size(), got, list)
		}
		for place, standing := range list {
			if tree.At(place) != standing || tree.Place(standing) != place {
				t.Fatalf("at %d is %v, want %v, which is at %d", place, tree.At(place), standing, tree.Place(standing))
			}
		}
	})
}
