package trajectory

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// A run that has succeeded rarely changes again, and takes several times as much memory as a message as it takes
// written. So the store keeps the runs of a section sealed once they all can be: written without what follows from the
// study's spec, or from the rest. What several of them have in common is written once: see frame.

// Sealed are runs that have all succeeded. They never change.
type Sealed struct {
	// frames are what the runs have in common, and data has the runs, one after the other. ends says where each ends.
	frames []string
	data   []byte
	ends   []uint32
}

// Sealable says whether a run may be sealed: it has succeeded, and nothing is to be decided about it, or trained again.
func (t *Trajectory) Sealable() bool {
	run := t.Run
	return run.State == lifecycle.RunSucceeded && run.Worker == "" && run.Dispute == nil && run.Decided == nil &&
		run.Attempt == 0 && !AuditDue(run)
}

// errSealed says that what should be a sealed run is none.
var errSealed = errors.New("not a sealed run")

// Seal seals runs, which must be Sealable. indexes returns those of the trials of one, by milestone.
func Seal(runs []*Trajectory, indexes func(slot int) []uint64) (*Sealed, error) {
	const usual = 200 // Bytes of a run of ten epochs.
	w := sealer{data: make([]byte, 0, usual*len(runs))}
	ends := make([]uint32, 0, len(runs))
	for slot, t := range runs {
		if err := w.add(t, indexes(slot)); err != nil {
			return nil, fmt.Errorf("seal run %s: %w", t.Run.Id, err)
		}
		ends = append(ends, uint32(len(w.data)))
	}
	return &Sealed{slices.Clip(w.frames), slices.Clone(w.data), ends}, nil
}

// SealedOf returns the runs of a row of a snapshot. What they contain is not checked: see Opened.Unchecked.
func SealedOf(row *trellisv1.SealedSection) (*Sealed, error) {
	s := &Sealed{ends: row.Ends, data: row.Data, frames: make([]string, len(row.Frames))}
	for i, frame := range row.Frames {
		s.frames[i] = string(frame)
	}
	if len(s.ends) == 0 || !slices.IsSorted(s.ends) || int(s.ends[len(s.ends)-1]) != len(s.data) {
		return nil, errSealed
	}
	return s, nil
}

// SetIn writes the runs into a row of a snapshot.
func (s *Sealed) SetIn(row *trellisv1.SealedSection) {
	row.Data, row.Ends, row.Frames = s.data, s.ends, make([][]byte, len(s.frames))
	for i, frame := range s.frames {
		row.Frames[i] = []byte(frame)
	}
}

// Size returns how many runs there are.
func (s *Sealed) Size() int { return len(s.ends) }

// run returns the number of the frame and the data of the run in a slot.
func (s *Sealed) run(slot int) (frame int, data []byte, err error) {
	begin := uint32(0)
	if slot > 0 {
		begin = s.ends[slot-1]
	}
	number, data, ok := uvarint(s.data[begin:s.ends[slot]])
	if !ok || number >= uint64(len(s.frames)) {
		return 0, nil, errSealed
	}
	return int(number), data, nil
}

// HasOwn says whether the run in a slot has anything that hardly any other has, such as checkpoints and outputs. It
// takes a fraction of the time of reading the run.
func (s *Sealed) HasOwn(slot int) (bool, error) {
	_, data, err := s.run(slot)
	if err != nil {
		return false, err
	}
	if len(data) == 0 {
		return false, errSealed
	}
	return data[0]&hasOwn != 0, nil
}

// Opened reads sealed runs one after the other. It keeps their frames, also for the Sealed that it is given next.
type Opened struct {
	*Sealed
	Terms  *Terms
	frames frames
	memory memory
}

// Reuse has the memory of the runs that were read before used for the next ones, for those who keep nothing of them,
// also not of their answers.
func (o *Opened) Reuse() { o.memory.reuse() }

// Run returns the run in a slot without what follows from the study's spec. It has no answers if these follow from the
// run: see AnswerLate. It fails unless Seal may have written the run.
func (o *Opened) Run(slot int) (*Trajectory, error) { return o.Unchecked(slot, nil) }

// Unchecked is Run for a run that nobody has read before. milestones are those that follow from the study's spec, or nil
// if they have been compared before. If the run has others, it fails before it reads as many epochs as these allow.
func (o *Opened) Unchecked(slot int, milestones []uint32) (*Trajectory, error) {
	number, data, err := o.run(slot)
	if err != nil {
		return nil, err
	}
	its, err := o.frames.of(o.Sealed.frames[number])
	if err != nil {
		return nil, err
	}
	return its.open(data, o.Terms, milestones, &o.memory)
}

// UnsealRun is Opened.Run of one run.
func (s *Sealed) UnsealRun(slot int, terms *Terms) (*Trajectory, error) {
	number, data, err := s.run(slot)
	if err != nil {
		return nil, err
	}
	its, err := readFrame(s.frames[number])
	if err != nil {
		return nil, err
	}
	return its.open(data, terms, nil, &memory{})
}

// Complete gives a run that has been unsealed what follows from the study's spec. as is the run as it follows from there,
// of which it becomes part. indexes returns those of the trials at milestones.
func (t *Trajectory) Complete(as *trellisv1.Run, indexes func(milestones []uint32) []uint64) *Trajectory {
	run := t.Run
	run.Study, run.Id, run.FirstTrial, run.Place = as.Study, as.Id, as.FirstTrial, as.Place
	run.Parameters = ParametersAt(as, run.Milestones[len(run.Milestones)-1])
	t.Losses.Study, t.Losses.Run = run.Study, run.Id
	if t.Answers == nil {
		t.answerLate(indexes(run.Milestones), &memory{})
		return t
	}
	for milestone, answer := range t.Answers {
		answer.Study, answer.Run, answer.Parameters = run.Study, run.Id, ParametersAt(run, run.Milestones[milestone])
	}
	return t
}

// AnswerLate gives a run that was read, has succeeded, and has no answers, those that follow from it now. indexes are
// those of its trials, by milestone.
func (o *Opened) AnswerLate(t *Trajectory, indexes []uint64) { t.answerLate(indexes, &o.memory) }

func (t *Trajectory) answerLate(indexes []uint64, in *memory) {
	t.Answers = make([]*trellisv1.Trial, 0, len(t.Run.Milestones))
	for milestone, epochs := range t.Run.Milestones {
		t.Answers = append(t.Answers, lateAnswer(t, epochs, indexes[milestone], in))
	}
}

// answersFollow says whether the results of a run's trials are those that follow from the run now.
func (t *Trajectory) answersFollow(indexes []uint64) bool {
	var none memory
	for milestone, answer := range t.Answers {
		if !sameAnswer(answer, lateAnswer(t, t.Run.Milestones[milestone], indexes[milestone], &none)) {
			return false
		}
	}
	return true
}

// sameAnswer is proto.Equal of two stored results, which takes a tenth of the time: every run is sealed once.
func sameAnswer(a, b *trellisv1.Trial) bool {
	return a.Study == b.Study && a.Index == b.Index && a.Run == b.Run && a.State == b.State && a.Error == b.Error &&
		a.BestEpoch == b.BestEpoch && a.Epochs == b.Epochs && sameOptional(a.Objective, b.Objective) &&
		sameOptional(a.TestLoss, b.TestLoss) && maps.EqualFunc(a.Metrics, b.Metrics, sameNumber) &&
		maps.EqualFunc(a.TestMetrics, b.TestMetrics, sameNumber) &&
		slices.EqualFunc(a.TrainLoss, b.TrainLoss, sameNumber) &&
		slices.EqualFunc(a.ValidationLoss, b.ValidationLoss, sameNumber) &&
		len(a.EpochMetrics)+len(b.EpochMetrics) == 0 &&
		(a.Parameters == b.Parameters || proto.Equal(a.Parameters, b.Parameters))
}

// sameNumber compares as proto.Equal does: NaN is the same as NaN, and 0 as -0.
func sameNumber(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func sameOptional(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameNumber(*a, *b)
}
