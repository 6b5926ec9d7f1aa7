package insight

import (
	"math"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

const diverged = trellisv1.TrialState_TRIAL_STATE_DIVERGED

// A configuration that diverged is never a contender, nor what the best is compared with: with one seed and with several.
func TestDivergedIsNoContender(t *testing.T) {
	for _, seeds := range [][]uint32{{1}, {1, 2}} {
		for name, test := range map[string]struct {
			losses map[uint32]float64
			best   trellisv1.TrialState
			shown  uint64
		}{
			"all":       {map[uint32]float64{2: math.NaN(), 4: math.Inf(1), 8: math.NaN()}, diverged, 3},
			"all but 4": {map[uint32]float64{2: math.NaN(), 4: 1, 8: math.NaN()}, trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, 2},
		} {
			s := newSeeded(t, seedsSpec(seeds...), []uint32{2, 4, 8}, seeds, func(latentDim, _ uint32) []float64 {
				return []float64{test.losses[latentDim], test.losses[latentDim]}
			})
			response, err := BestTrial(s.Snapshot(), &trellisv1.GetBestTrialRequest{Study: "s"})
			ok(t, err)
			contenders := 0
			for place, configuration := range s.list(&trellisv1.ListConfigurationsRequest{}).Configurations {
				// Whatever diverged stands behind the others, without a rank.
				if finite := !math.IsNaN(configuration.GetMean()); finite != (configuration.Rank != nil) ||
					finite && configuration.GetRank() != uint64(place+1) {
					t.Errorf("%s, seeds %v: at place %d, %v", name, seeds, place, configuration)
				}
				if configuration.Contender && !math.IsNaN(configuration.GetMean()) {
					contenders++
				} else if configuration.Contender {
					t.Errorf("%s, seeds %v: %v is a contender", name, seeds, configuration)
				}
			}
			all := test.best == diverged
			if response.Trial.State != test.best || response.RunnerUp != nil ||
				(response.Verdict.Best == nil) != all || contenders == 0 != all || all && response.Verdict.Advice != nil {
				t.Errorf("%s, seeds %v: best %v, %d contenders", name, seeds, response, contenders)
			}
			// Each configuration is there with two maximum numbers of epochs.
			want := test.shown * 2 * uint64(len(seeds))
			report, err := Report(s.Snapshot(), "s")
			ok(t, err)
			for _, progress := range []*trellisv1.Progress{response.Study.Progress, report.Study.Progress} {
				if progress.TrialsDiverged != want || progress.TrialsSucceeded != progress.Trials-want {
					t.Errorf("%s, seeds %v: progress %v, want %d diverged", name, seeds, progress, want)
				}
			}
			if report.Diverged != want || report.Trained+report.Prefixes != report.Study.Progress.Trials-want {
				t.Errorf("%s, seeds %v: report %v, want %d diverged", name, seeds, report, want)
			}
		}
	}
}
