package results

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// A trial without a finite objective is shown as diverged wherever trials are shown, and counted as that, but its row and
// its study's stay as they were stored.
func TestDiverged(t *testing.T) {
	store := newListStore(t)
	snapshot := store.Snapshot()
	digest, err := snapshot.Digest("s")
	ok(t, err)
	// That of the version before there was the state.
	if want := "188edeca43e9ef8ce6bcf86811b6fe321a8af194aa38a5fe72050ca71589004b"; digest != want {
		t.Errorf("digest %s, want %s", digest, want)
	}
	shown, err := snapshot.Trial("s", 3)
	ok(t, err)
	if shown.State != lifecycle.TrialDiverged {
		t.Errorf("shown %v", shown)
	}
	for _, losses := range []bool{false, true} {
		for _, order := range []string{"", "objective", "-objective"} {
			list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", OrderBy: order, Losses: losses})
			ok(t, err)
			for _, trial := range list.Trials {
				if diverged := trial.State == lifecycle.TrialDiverged; diverged != (trial.Index == 3) {
					t.Errorf("ordered by %q: trial %d is %v", order, trial.Index, trial.State)
				}
			}
		}
	}
	stored, err := snapshot.Study(nil, "s")
	ok(t, err)
	presented, err := snapshot.Presented(stored)
	ok(t, err)
	if p := presented.Progress; p.TrialsDiverged != 1 || p.TrialsSucceeded != 3 {
		t.Errorf("presented progress %v", p)
	}
	if p := stored.Progress; p.TrialsDiverged != 0 || p.TrialsSucceeded != 4 {
		t.Errorf("stored progress %v", p)
	}
	ranked, err := snapshot.Ranked("s")
	ok(t, err)
	for answered := range ranked {
		if answered.State != lifecycle.TrialSucceeded {
			t.Errorf("stored trial %d is %v", answered.Index, answered.State)
		}
	}
}
