package lead

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// historyOf returns what is recorded, up to an epoch, of the metrics by which a program's run is ranked and stopped. An
// attempt that resumes there needs them to know which epoch is the best so far, and how long that was ago.
func historyOf(
	snapshot *results.Snapshot, run *trellisv1.Run, config *trellisv1.RunConfig, epoch uint32,
) (map[string]*trellisv1.Series, error) {
	losses, err := snapshot.Losses(nil, run.GetStudy(), run.GetId())
	if err != nil {
		return nil, err
	}
	history := map[string]*trellisv1.Series{}
	for _, metric := range []string{config.GetObjective().GetMetric(), config.GetEarlyStopping().GetMetric()} {
		series := losses.GetMetrics()[metric]
		if series == nil {
			continue
		}
		missing, _ := slices.BinarySearch(series.GetMissing(), epoch)
		history[metric] = &trellisv1.Series{
			Values: series.GetValues()[:min(int(epoch), len(series.GetValues()))], Missing: series.GetMissing()[:missing],
		}
	}
	return history, nil
}
