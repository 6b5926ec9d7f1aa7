package forecast

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// Limits on the size of a tally, for studies of any size.
const (
	// maxFinished is how many ended runs' losses are kept, and maxMeasured how many runs' times. Beyond that, every
	// other one is dropped. maxOpen is how many unfinished runs' losses are kept: the first ones.
	maxFinished = 256
	maxOpen     = 256
	maxMeasured = 512
)

// Tally is what a study's runs say about its future. Its size is bounded.
type Tally struct {
	spec *trellisv1.StudySpec
	// stopping is how runs stop early, with its metric and direction; nil if they don't.
	stopping *trellisv1.EarlyStopping
	// images is how many images an epoch processes, in units of one training image.
	images float64
	// epochTime is how many seconds an epoch takes according to the spec of a synthetic study.
	epochTime float64
	classes   classes
	spotted   spotted
	// queue has the PENDING runs, in the order of leasing, and held the LEASED ones.
	queue queue
	held  []heldRun
	// open has the trajectories of unfinished runs, to which classes refer. finished has those of runs that have ended.
	open, finished []trajectory
	measured       []measurement
	// Which of the finished runs and of the measured runs are kept.
	keepFinished, keepMeasured sampler
	divergence                 divergence
	counts                     counts
}

// counts are for the forecast's basis.
type counts struct {
	// epochs is how many epochs had their time measured.
	epochs uint64
	// How many runs have ended by themselves, how many of these by early stopping, and how many because they diverged.
	ended, stopped, diverged int
}

// heldRun is a run that a worker trains.
type heldRun struct {
	class  int32
	worker string
}

// NewTally returns the tally of a study without runs. The spec must have its defaults and its split filled in.
func NewTally(spec *trellisv1.StudySpec) *Tally {
	split := spec.GetSplit()
	return &Tally{
		spec:      spec,
		stopping:  objective.Stopping(spec),
		images:    max(1, float64(split.GetTrain())+validationShare*float64(split.GetValidation())),
		epochTime: spec.GetSynthetic().GetEpochTime().AsDuration().Seconds(),
		classes:   newClasses(),
	}
}

// program says whether the study's runs are those of a program.
func (t *Tally) program() bool { return t.spec.GetProgram() != nil }

// Add counts a run. Runs must be added in the order in which they will be leased. losses is nil before the first epoch.
func (t *Tally) Add(run *trellisv1.Run, losses *trellisv1.Losses) { t.AddLike(run, losses, 1) }

// AddLike counts a run that stands for several like it.
func (t *Tally) AddLike(run *trellisv1.Run, losses *trellisv1.Losses, runs int) {
	at := settingsOf(run.GetParameters(), t.program())
	t.measure(run, at, losses.GetSeconds(), runs)
	c := class{
		settings: at, maxEpochs: int(run.GetParameters().GetMaxEpochs()), epochs: int(run.GetEpochs()),
		trajectory: none,
	}
	var followed trajectory
	if t.stopping != nil && losses != nil {
		followed, c.waited = follow(at, losses, t.stopping)
	}
	switch run.GetState() {
	case trellisv1.RunState_RUN_STATE_SUCCEEDED:
		t.end(run, at, followed, runs)
	case trellisv1.RunState_RUN_STATE_PENDING:
		c.from, c.trajectory = int(lastCheckpoint(run)), t.keepOpen(followed)
		t.queue.add(t.classes.add(c), runs)
	case trellisv1.RunState_RUN_STATE_LEASED:
		c.from, c.trajectory = int(run.GetAttemptEpochs()), t.keepOpen(followed)
		t.held = append(t.held, heldRun{int32(t.classes.add(c)), run.GetWorker()})
	}
}

// lastCheckpoint returns the epoch after which a run's next attempt starts.
func lastCheckpoint(run *trellisv1.Run) (epoch uint32) {
	for _, checkpoint := range run.GetCheckpoints() {
		epoch = max(epoch, checkpoint.GetEpoch())
	}
	return epoch
}

// measure records how long the run's epochs took, without those that another study trained.
func (t *Tally) measure(run *trellisv1.Run, at settings, times []float32, runs int) {
	epochs := run.GetEpochs() - min(run.GetEpochs(), run.GetSharedEpochs())
	if epochs == 0 || run.GetTrainingSeconds() <= 0 {
		return
	}
	t.counts.epochs += uint64(epochs) * uint64(runs)
	m := measurement{
		settings: at, epochs: float64(epochs), images: t.images, changed: run.GetModifyIndex(), worker: run.GetWorker(),
		spells: spellsOf(times, float64(epochs), run.GetTrainingSeconds()),
	}
	keep(&t.measured, m, &t.keepMeasured, maxMeasured)
}

// end records how a run has ended.
func (t *Tally) end(run *trellisv1.Run, at settings, followed trajectory, runs int) {
	t.counts.ended += runs
	switch run.GetStopReason() {
	case trellisv1.StopReason_STOP_REASON_EARLY_STOPPING:
		t.counts.stopped += runs
	case trellisv1.StopReason_STOP_REASON_DIVERGED:
		t.counts.diverged += runs
	}
	t.divergence.add(at.learningRate, int(run.GetEpochs()),
		run.GetStopReason() == trellisv1.StopReason_STOP_REASON_DIVERGED)
	if len(followed.cells) > 0 {
		keep(&t.finished, followed, &t.keepFinished, maxFinished)
	}
}

// none stands for no trajectory.
const none = -1

func (t *Tally) keepOpen(followed trajectory) int {
	if len(followed.cells) == 0 || len(t.open) == maxOpen {
		return none
	}
	t.open = append(t.open, followed)
	return len(t.open) - 1
}

// sampler says which of many rows are kept: one of every so many. 0: all.
type sampler struct{ every, seen int }

// keep adds a row to a list with at most limit rows. Whenever the list is full, it drops every other row.
func keep[E any](list *[]E, row E, s *sampler, limit int) {
	s.every = max(s.every, 1)
	if s.seen++; (s.seen-1)%s.every != 0 {
		return
	}
	if len(*list) == limit {
		kept := slices.Clone((*list)[:0])
		for i := 0; i < limit; i += 2 {
			kept = append(kept, (*list)[i])
		}
		*list = kept
		s.every *= 2
		if (s.seen-1)%s.every != 0 {
			return
		}
	}
	*list = append(*list, row)
}
