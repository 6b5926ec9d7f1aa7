package planning

import (
	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Study counts the trials, runs and epochs of a study that there is not yet, and how many of them other studies have trained.
// tally is what its forecast depends on.
func Study(
	snapshot *results.Snapshot, study *trellisv1.Study,
) (response *trellisv1.PlanStudyResponse, tally *forecast.Tally, err error) {
	its, err := lattice.New(study)
	if err != nil {
		return nil, nil, err
	}
	tally = forecast.NewTally(study.GetSpec())
	response = &trellisv1.PlanStudyResponse{
		Trials: its.Trials(), Runs: uint64(its.Runs()), Epochs: its.Epochs(), EpochsAlone: its.EpochsAlone(),
	}
	next := uint32(0)
	if !study.GetFresh() && grid.Shares(study.GetSpec()) {
		known, err := findKnown(snapshot, its)
		if err != nil {
			return nil, nil, err
		}
		err = known.each(func(run *trellisv1.Run, from *trajectory.Trajectory) error {
			tally.AddSpots(its.Spots(next, run.GetPlace()))
			next = run.GetPlace() + 1
			share(response, run, from.Run)
			tally.Add(run, trajectory.FirstEpochs(from.Losses, run.GetEpochs()))
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	tally.AddSpots(its.Spots(next, its.Runs()))
	return response, tally, snapshot.Err()
}

// share gives a run the results that another study has for it, up to the run's own end.
func share(response *trellisv1.PlanStudyResponse, run, from *trellisv1.Run) {
	shared := trajectory.Share(run, from)
	run.Epochs, run.SharedEpochs = shared.Epochs, shared.Epochs
	response.EpochsShared += uint64(shared.Epochs)
	response.SecondsShared += shared.Seconds
	if shared.Ended {
		response.RunsShared++
		run.State, run.StopReason = lifecycle.RunSucceeded, shared.Reason
		return
	}
	trajectory.ShareCheckpoints(run, from)
	response.EpochsAgain += uint64(again(run))
}
