package retention

import (
	"errors"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/insight"
	"trellis/results/trajectory"
)

// Plan says what may be deleted of the checkpoints of studies that have ended: all but those of the runs of each
// study's best trials. Studies without such checkpoints are left out. It looks at every run of the store twice.
func Plan(snapshot *results.Snapshot, studies []string) (uses []*trellisv1.CheckpointUse, err error) {
	kept := map[string][]string{}
	var chosen []*use
	for _, name := range studies {
		if _, again := kept[name]; again {
			continue
		}
		its, err := useOf(snapshot, name)
		if err != nil {
			return nil, err
		}
		kept[name] = its.KeptRuns
		if its.Checkpoints > 0 {
			chosen = append(chosen, its)
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	referred, err := snapshot.ArtifactsWithout(func(run *trellisv1.Run) bool {
		keep, its := kept[run.GetStudy()]
		return its && drops(run, keep)
	})
	if err != nil {
		return nil, err
	}
	// A file counts once: for the last study that has it, with which it goes.
	for _, its := range slices.Backward(chosen) {
		for digest, size := range its.sizes {
			if !referred[digest] {
				its.Files++
				its.Bytes += size
				referred[digest] = true
			}
		}
	}
	for _, its := range chosen {
		uses = append(uses, its.CheckpointUse)
	}
	return uses, nil
}

// use is what may be deleted of a study, and the sizes of its files by their digests.
type use struct {
	*trellisv1.CheckpointUse
	sizes map[string]uint64
}

// UseOf says what may be deleted of one study, without the files and their size, for which all studies would have to be
// looked at.
func UseOf(snapshot *results.Snapshot, name string) (*trellisv1.CheckpointUse, error) {
	its, err := useOf(snapshot, name)
	if err != nil {
		return nil, err
	}
	return its.CheckpointUse, nil
}

func useOf(snapshot *results.Snapshot, name string) (*use, error) {
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return nil, err
	}
	its := &use{
		CheckpointUse: &trellisv1.CheckpointUse{Study: name, ModifyIndex: study.GetModifyIndex()}, sizes: map[string]uint64{},
	}
	if its.KeptRuns, err = bestRuns(snapshot, name); err != nil {
		return nil, err
	}
	runs, err := snapshot.RunsWithCheckpoints(name)
	if err != nil {
		return nil, err
	}
	for run := range runs {
		if !drops(run, its.KeptRuns) {
			continue
		}
		its.Runs++
		its.Checkpoints += uint64(len(run.GetCheckpoints()))
		for _, checkpoint := range run.GetCheckpoints() {
			its.sizes[checkpoint.GetSha256()] = checkpoint.GetSize()
		}
	}
	return its, snapshot.Err()
}

// bestRuns returns the run of a study's best trial, which is one of the best configuration, and that of the trial with
// the best result, by which other studies start from this one. Usually these are one run. There is none if no trial has
// a result.
func bestRuns(snapshot *results.Snapshot, study string) (runs []string, err error) {
	single, err := snapshot.Best(nil, study)
	if errors.Is(err, results.ErrNoAnswer) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	best, err := insight.BestTrial(snapshot, &trellisv1.GetBestTrialRequest{Study: study})
	switch {
	case err == nil:
		runs = append(runs, best.GetTrial().GetRun())
	case !errors.Is(err, results.ErrNoAnswer):
		return nil, err
	}
	if !slices.Contains(runs, single.GetRun()) {
		runs = append(runs, single.GetRun())
	}
	return runs, nil
}

// drops says whether a run loses its checkpoints.
func drops(run *trellisv1.Run, keep []string) bool {
	return !slices.Contains(keep, run.GetId()) && trajectory.MayDropCheckpoints(run)
}
