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
// It holds the reports of the epochs up to the checkpoint that were trained here, not only the checkpoint: an attempt
// that goes on from here sends them as its own. What became of them under the earlier attempt then does not matter,
// whether they were recorded, refused, or recorded in a study that has been deleted since. Training is deterministic, so
// they are what a fresh start would have given.
type position struct {
	checkpoint *trainer.Checkpoint
	// reports are of consecutive epochs, the last of them the checkpoint's. Those before the first were trained by others,
	// whose checkpoint the training began with.
	reports []trainer.Report
}

// epoch is the last one that has been trained.
func (p position) epoch() int {
	if p.checkpoint == nil {
		return 0
	}
	return p.checkpoint.Epoch()
}

// first is the epoch of the first report that an attempt will send which goes on from here.
func (p position) first() int { return p.epoch() - len(p.reports) + 1 }

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

// take removes and returns where the assignment's run was interrupted. It is the beginning if the run is not known here
// or what is known is of no use: if the assignment's checkpoint is further on, if reports are missing between those that
// are recorded and those of the position, or if the configuration is not the very same, since other milestones ask for
// test losses that the reports don't have.
func (p *positions) take(assignment *trellisv1.Assignment) position {
	i := slices.IndexFunc(p.kept, func(k keptPosition) bool { return k.run == assignment.GetRun() })
	if i < 0 {
		return position{}
	}
	found := p.kept[i]
	p.kept = slices.Delete(p.kept, i, i+1)
	if found.position.epoch() < int(assignment.GetCheckpoint().GetEpoch()) ||
		found.position.first() > int(assignment.GetEpochs())+1 || !proto.Equal(found.config, assignment.GetConfig()) {
		return position{}
	}
	return found.position
}
