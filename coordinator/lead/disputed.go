package lead

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// awaitsMachine says whether all that is left to do of a study are disputed runs that no READY worker can decide.
func awaitsMachine(snapshot *results.Snapshot, name string) (bool, error) {
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return false, err
	}
	// Runs that have ended may be disputed too.
	p := study.GetProgress()
	left := trajectory.OpenRuns(p) + p.GetAuditsDue()
	if left == 0 || p.GetRunsDisputed() < left {
		return false, nil
	}
	ready, err := snapshot.ReadyWorkers()
	if err != nil {
		return false, err
	}
	ready = resources.Serving(study, ready)
	waiting, err := snapshot.WaitingRuns(name)
	if err != nil {
		return false, err
	}
	for run := range waiting {
		if run.GetDispute() == nil || slices.ContainsFunc(ready, func(worker *trellisv1.Worker) bool {
			return worker.GetWrong() == nil && mayDecide(study, run.GetDispute(), worker, ready)
		}) {
			return false, nil
		}
		left--
	}
	// The others are being trained.
	return left == 0, nil
}
