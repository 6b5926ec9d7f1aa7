package worker

import (
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// maxPositions is how many interrupted runs a worker remembers. A position of the paper's network takes about 1 MB.
const maxPositions = 32

// position is how far a run has been trained here. The zero value is its beginning.
//
// It holds the reports of all epochs up to the checkpoint, not only the checkpoint: an attempt that goes on from here
// sends them again as its own. What became of them under the earlier attempt then does not matter, whether they were
// recorded, refused, or recorded in a study that has been deleted since. Training is deterministic, so they are what a
// fresh start would have given.
type position struct {
	checkpoint *trainer.Checkpoint
	// reports are of epochs 1 to the checkpoint's, and carry the number of the attempt that made them.
	reports []*trellisv1.Report
}

// epoch is the last one that has been trained.
func (p position) epoch() int { return len(p.reports) }

// positions keeps those of the runs that were interrupted most recently, oldest first, in case one of them is assigned
// to this worker again.
type positions struct {
	kept []keptPosition
}

type keptPosition struct {
	run      string
	config   *trellisv1.RunConfig
	position position
}

// keep remembers where an assignment was interrupted.
func (p *positions) keep(assignment *trellisv1.Assignment, at position) {
	if at.checkpoint == nil {
		return
	}
	p.kept = slices.DeleteFunc(p.kept, func(k keptPosition) bool { return k.run == assignment.GetRun() })
	if len(p.kept) == maxPositions {
		p.kept = slices.Delete(p.kept, 0, 1)
	}
	p.kept = append(p.kept, keptPosition{assignment.GetRun(), assignment.GetConfig(), at})
}

// take removes and returns where the assignment's run was interrupted, with the reports made the assignment's own. It
// is the beginning if the run is not known, or not with the very same configuration: other milestones ask for test
// losses that its reports don't have.
func (p *positions) take(assignment *trellisv1.Assignment) position {
	i := slices.IndexFunc(p.kept, func(k keptPosition) bool { return k.run == assignment.GetRun() })
	if i < 0 {
		return position{}
	}
	found := p.kept[i]
	p.kept = slices.Delete(p.kept, i, i+1)
	if !proto.Equal(found.config, assignment.GetConfig()) {
		return position{}
	}
	at := position{checkpoint: found.position.checkpoint}
	for _, report := range found.position.reports {
		report = proto.CloneOf(report)
		report.Study, report.Attempt = assignment.GetStudy(), assignment.GetAttempt()
		at.reports = append(at.reports, report)
	}
	return at
}
