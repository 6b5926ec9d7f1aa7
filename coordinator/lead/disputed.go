package lead

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/auditing"
	"trellis/results/trajectory"
)

// awaitsMachine says whether all that is left to do of a study are disputed runs that no READY worker can decide.
func awaitsMachine(snapshot *results.Snapshot, name string) (bool, error) {
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return false, err
	}
	p := study.GetProgress()
	if p.GetRunsDisputed() == 0 || p.GetRunsDisputed() < trajectory.OpenRuns(p)+p.GetAuditsDue() {
		return false, nil
	}
	ready, err := snapshot.ReadyWorkers()
	if err != nil {
		return false, err
	}
	runs, err := snapshot.Trajectories(name)
	if err != nil {
		return false, err
	}
	for run := range runs {
		if run.GetDispute() == nil {
			continue
		}
		if auditing.Held(run) || slices.ContainsFunc(ready, func(worker *trellisv1.Worker) bool {
			return worker.GetWrong() == nil && mayDecide(run.GetDispute(), worker, ready)
		}) {
			return false, nil
		}
	}
	return true, nil
}
