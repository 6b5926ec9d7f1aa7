package worker

import (
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// maxPositions is how many interrupted runs a worker remembers. A position of the paper's network takes about 1 MB.
const maxPositions = 32

// position says how far a run has been trained here. The zero value is the beginning of the run.
//
// It has the checkpoint, and the reports of the epochs up to the checkpoint that were trained here. An attempt that
// continues from here sends these reports as its own. So it does not matter whether the reports of the earlier attempt
// were recorded, refused, or recorded in a study that has since been deleted. Training is deterministic, so a fresh
// start would have given the same reports.
type position struct {
	checkpoint *trainer.Checkpoint
	// reports are of consecutive epochs, and the last is of the checkpoint's epoch. Epochs before the first were
	// trained by others: training started from their checkpoint.
	reports []trainer.Report
}

// epoch returns the last epoch that has been trained.
func (p position) epoch() int {
	if p.checkpoint == nil {
		return 0
	}
	return p.checkpoint.Epoch()
}

// first returns the epoch of the first report that an attempt sends if it continues from here.
func (p position) first() int { return p.epoch() - len(p.reports) + 1 }

// positions has the positions of the runs that were interrupted most recently, oldest first, in case one of them is
// assigned to this worker again.
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

// take removes and returns the position where the assignment's run was interrupted. It returns the beginning if the run
// is not known here, if it must be trained from the start, or if its position is of no use: if the assignment's checkpoint has more epochs, if reports are
// missing between the recorded ones and those of the position, or if the configuration differs at all, because other
// milestones need test losses that the reports don't have.
func (p *positions) take(assignment *trellisv1.Assignment) position {
	i := slices.IndexFunc(p.kept, func(k keptPosition) bool { return k.run == assignment.GetRun() })
	if i < 0 {
		return position{}
	}
	found := p.kept[i]
	p.kept = slices.Delete(p.kept, i, i+1)
	if assignment.GetFromStart() {
		return position{}
	}
	if found.position.epoch() < int(assignment.GetCheckpoint().GetEpoch()) ||
		found.position.first() > int(assignment.GetEpochs())+1 || !proto.Equal(found.config, assignment.GetConfig()) {
		return position{}
	}
	return found.position
}
