package trajectory

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/packed"
)

// A sealed run is, one after the other: the number of its frame; a byte of flags; its epochs and modify_index; by how much
// each attempt in trainings is below the first attempt that modify_index could have granted; training_seconds, unless they
// follow; the lengths of its rows, if they are not its epochs; the rows, of losses, of metrics by name, and of times; the test
// losses and metrics, by epoch and name; its own message, and the results of its trials, if there are any. Whole numbers are
// varints, others are as in package packed or take 8 bytes.
const (
	// hasLengths says that the lengths of rows follow.
	hasLengths = 1 << iota
	// scoreFollows says that the last losses and the score are those that follow from the rows, and secondsFollow that
	// training_seconds are the sum of the times.
	scoreFollows
	secondsFollow
	// attemptFollows says that attempt_epochs are the run's epochs.
	attemptFollows
	// hasOwn and hasAnswers say that the run has a message of its own, and results that do not follow from it.
	hasOwn
	hasAnswers

	allFlags = 1<<iota - 1
)

// frame is what several runs of a section have in common, written as two messages: a run and its losses, without numbers.
// Sections are small, and their runs are trained one after the other, often by the same workers.
type frame struct {
	run    *trellisv1.Run
	losses *trellisv1.Losses
	// metrics are the names of its rows, tested are the epochs that have test losses, and testMetrics their metrics.
	metrics     []string
	tested      []uint32
	testMetrics map[uint32][]string
}

// namesOf returns the rows and the test results that losses have, in order.
func namesOf(losses *trellisv1.Losses) (metrics []string, tested []uint32, testMetrics map[uint32][]string) {
	if len(losses.Metrics) > 0 {
		metrics = slices.Sorted(maps.Keys(losses.Metrics))
	}
	if len(losses.TestLoss) > 0 {
		tested = slices.Sorted(maps.Keys(losses.TestLoss))
	}
	for epoch, its := range losses.TestMetrics {
		if testMetrics == nil {
			testMetrics = map[uint32][]string{}
		}
		testMetrics[epoch] = slices.Sorted(maps.Keys(its.GetValues()))
	}
	return metrics, tested, testMetrics
}

// sealer seals runs.
type sealer struct {
	data   []byte
	frames []string
	// firsts are the first runs that have the frames.
	firsts []*Trajectory
}

func (w *sealer) add(t *Trajectory, indexes []uint64) error {
	run, losses := t.Run, t.Losses
	flags := t.flags(indexes)
	number, err := w.frame(t, flags)
	if err != nil {
		return err
	}
	data := protowire.AppendVarint(w.data, uint64(number))
	data = append(data, flags)
	data = protowire.AppendVarint(data, uint64(run.Epochs))
	data = protowire.AppendVarint(data, run.ModifyIndex)
	for _, training := range run.Trainings {
		data = protowire.AppendVarint(data, protowire.EncodeZigZag(int64(attemptsFrom(run)-training.Attempt)))
	}
	if flags&secondsFollow == 0 {
		data = appendNumber(data, run.TrainingSeconds)
	}
	metrics, tested, testMetrics := namesOf(losses)
	if flags&hasLengths != 0 {
		data = protowire.AppendVarint(data, uint64(len(losses.TrainLoss)))
		data = protowire.AppendVarint(data, uint64(len(losses.ValidationLoss)))
		for _, name := range metrics {
			data = protowire.AppendVarint(data, uint64(len(losses.Metrics[name].GetValues())))
		}
		data = protowire.AppendVarint(data, uint64(len(losses.Seconds)))
	}
	data = packed.AppendFloats(data, losses.TrainLoss, nil)
	data = packed.AppendFloats(data, losses.ValidationLoss, losses.TrainLoss)
	for _, name := range metrics {
		data = packed.AppendFloats(data, losses.Metrics[name].GetValues(), nil)
	}
	data = packed.AppendSeconds(data, losses.Seconds)
	for _, epoch := range tested {
		data = appendNumber(data, losses.TestLoss[epoch])
	}
	for _, epoch := range slices.Sorted(maps.Keys(testMetrics)) {
		for _, name := range testMetrics[epoch] {
			data = appendNumber(data, losses.TestMetrics[epoch].GetValues()[name])
		}
	}
	if flags&hasOwn != 0 {
		if data, err = appendMessage(data, t.own(flags)); err != nil {
			return err
		}
	}
	if flags&hasAnswers != 0 {
		for _, answer := range t.Answers {
			answer = CopyTrial(answer)
			answer.Study, answer.Run, answer.Parameters = "", "", nil
			if data, err = appendMessage(data, answer); err != nil {
				return err
			}
		}
	}
	w.data = data
	return nil
}

// attemptsFrom is the first attempt that the last command that changed a run could have granted.
func attemptsFrom(run *trellisv1.Run) uint64 { return run.ModifyIndex << 10 }

// flags says what of a run follows.
func (t *Trajectory) flags(indexes []uint64) (flags byte) {
	run, losses := t.Run, t.Losses
	set := func(flag byte, is bool) {
		if is {
			flags |= flag
		}
	}
	epochs := int(run.Epochs)
	same := len(losses.Seconds) == epochs
	for _, series := range losses.Metrics {
		same = same && len(series.GetValues()) == epochs
	}
	if losses.Epochs == 0 {
		same = same && len(losses.TrainLoss) == epochs && len(losses.ValidationLoss) == epochs
	} else {
		same = same && len(losses.TrainLoss) == 0 && len(losses.ValidationLoss) == 0
	}
	set(hasLengths, !same)
	set(scoreFollows, same && t.scoreFollows())
	set(secondsFollow, sameBits(sumOf(losses.Seconds), run.TrainingSeconds))
	set(attemptFollows, run.AttemptEpochs == run.Epochs)
	set(hasOwn, hasOwnFields(run, flags))
	set(hasAnswers, !t.answersFollow(indexes))
	return flags
}

// sameBits says whether two numbers are the same bit for bit.
func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

func sameOptionalBits(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameBits(*a, *b)
}

// sumOf adds times as they were added when they were reported.
func sumOf(seconds []float32) (sum float64) {
	for _, s := range seconds {
		sum += packed.Measured(s)
	}
	return sum
}

// hasScore says that the losses suffice to compute the score.
func (t *Trajectory) hasScore() bool {
	epochs := int(t.Run.Epochs)
	return epochs > 0 && (t.Terms.program() != nil || len(t.Losses.TrainLoss) >= epochs && len(t.Losses.ValidationLoss) >= epochs)
}

// scoreFollows says whether the last losses and the score of a run are those that follow from its losses.
func (t *Trajectory) scoreFollows() bool {
	if !t.hasScore() {
		return false
	}
	its := Trajectory{Run: &trellisv1.Run{Epochs: t.Run.Epochs}, Terms: t.Terms, Losses: t.Losses}
	its.setScore(its.scoreAt(t.Run.Epochs))
	a, b := its.Run, t.Run
	return sameBits(a.TrainLoss, b.TrainLoss) && sameBits(a.ValidationLoss, b.ValidationLoss) &&
		sameOptionalBits(a.BestValidationLoss, b.BestValidationLoss) && sameOptionalBits(a.Objective, b.Objective) &&
		sameOptionalBits(a.Metric, b.Metric) && a.BestEpoch == b.BestEpoch
}

// hasOwnFields says whether own is not empty.
func hasOwnFields(run *trellisv1.Run, flags byte) bool {
	return flags&scoreFollows == 0 || flags&attemptFollows == 0 && run.AttemptEpochs != 0 || len(run.Checkpoints) > 0 ||
		len(run.MissingWeights) > 0 || len(run.Outputs) > 0 || run.SharedEpochs > 0 || run.SharedSeconds != 0 ||
		run.Audit != nil
}

// own is what a run hardly ever has in common with others.
func (t *Trajectory) own(flags byte) *trellisv1.Run {
	run := t.Run
	own := &trellisv1.Run{
		Checkpoints: run.Checkpoints, MissingWeights: run.MissingWeights, Outputs: run.Outputs,
		SharedEpochs: run.SharedEpochs, SharedSeconds: run.SharedSeconds, Audit: run.Audit,
	}
	if flags&scoreFollows == 0 {
		own.TrainLoss, own.ValidationLoss, own.BestValidationLoss = run.TrainLoss, run.ValidationLoss, run.BestValidationLoss
		own.Objective, own.Metric, own.BestEpoch = run.Objective, run.Metric, run.BestEpoch
	}
	if flags&attemptFollows == 0 {
		own.AttemptEpochs = run.AttemptEpochs
	}
	return own
}

// frame returns the number of a run's frame, which it adds if no run before has the same.
func (w *sealer) frame(t *Trajectory, flags byte) (int, error) {
	for number, first := range w.firsts {
		if sameFrame(first, t) {
			return number, nil
		}
	}
	written, err := writeFrame(t)
	if err != nil {
		return 0, err
	}
	w.frames, w.firsts = append(w.frames, written), append(w.firsts, t)
	return len(w.frames) - 1, nil
}

// sameFrame says whether two runs are known to have the same frame. It takes a tenth of the time of writing one.
func sameFrame(a, b *Trajectory) bool {
	x, y := a.Run, b.Run
	return slices.Equal(x.Milestones, y.Milestones) && x.State == y.State && x.StopReason == y.StopReason &&
		len(x.Failures)+len(y.Failures) == 0 && x.Error == y.Error && x.SharedFrom == y.SharedFrom &&
		x.Spared == y.Spared && slices.EqualFunc(x.Trainings, y.Trainings, func(s, t *trellisv1.Training) bool {
		return s.Worker == t.Worker && s.Machine == t.Machine && s.After == t.After && s.MaxEpochs == t.MaxEpochs &&
			untilIn(x, s) == untilIn(y, t)
	}) && (a.Losses.Epochs > 0) == (b.Losses.Epochs > 0) && sameTested(a.Losses.TestLoss, b.Losses.TestLoss) &&
		maps.EqualFunc(a.Losses.Metrics, b.Losses.Metrics, func(s, t *trellisv1.Series) bool {
			return slices.Equal(s.GetMissing(), t.GetMissing())
		}) && maps.EqualFunc(a.Losses.TestMetrics, b.Losses.TestMetrics, func(s, t *trellisv1.Metrics) bool {
		return sameKeys(s.GetValues(), t.GetValues())
	})
}

// sameTested says whether the same epochs have test losses.
func sameTested(a, b map[uint32]float64) bool {
	for epoch := range a {
		if _, both := b[epoch]; !both {
			return false
		}
	}
	return len(a) == len(b)
}

// untilIn is what the frame of a run says of the end of a training: 0 is the run's end, and other epochs are one more.
func untilIn(run *trellisv1.Run, training *trellisv1.Training) uint32 {
	if training.Until == run.Epochs {
		return 0
	}
	return training.Until + 1
}

func writeFrame(t *Trajectory) (string, error) {
	its := t.Run
	run := &trellisv1.Run{
		Milestones: its.Milestones, State: its.State, StopReason: its.StopReason, Failures: its.Failures, Error: its.Error,
		SharedFrom: its.SharedFrom, Spared: its.Spared,
	}
	for _, training := range its.Trainings {
		run.Trainings = append(run.Trainings, &trellisv1.Training{
			Worker: training.Worker, Machine: training.Machine, After: training.After, Until: untilIn(its, training),
			MaxEpochs: training.MaxEpochs,
		})
	}
	losses := &trellisv1.Losses{}
	if t.Losses.Epochs > 0 {
		losses.Epochs = 1
	}
	for name, series := range t.Losses.Metrics {
		if losses.Metrics == nil {
			losses.Metrics = map[string]*trellisv1.Series{}
		}
		losses.Metrics[name] = &trellisv1.Series{Missing: series.GetMissing()}
	}
	for epoch := range t.Losses.TestLoss {
		if losses.TestLoss == nil {
			losses.TestLoss = map[uint32]float64{}
		}
		losses.TestLoss[epoch] = 0
	}
	for epoch, metrics := range t.Losses.TestMetrics {
		if losses.TestMetrics == nil {
			losses.TestMetrics = map[uint32]*trellisv1.Metrics{}
		}
		names := &trellisv1.Metrics{Values: map[string]float64{}}
		for name := range metrics.GetValues() {
			names.Values[name] = 0
		}
		losses.TestMetrics[epoch] = names
	}
	data, err := appendMessage(nil, run)
	if err == nil {
		data, err = appendMessage(data, losses)
	}
	return string(data), err
}

func readFrame(written string) (frame, error) {
	f := frame{run: &trellisv1.Run{}, losses: &trellisv1.Losses{}}
	data, err := consumeMessage([]byte(written), f.run)
	if err == nil {
		data, err = consumeMessage(data, f.losses)
	}
	if err != nil || len(data) > 0 {
		return f, cmp.Or(err, errSealed)
	}
	f.metrics, f.tested, f.testMetrics = namesOf(f.losses)
	return f, nil
}

// frames are those that have been read, by what is written of them. Most sections of a study have the same.
type frames map[string]*frame

// maxFrames is how many are kept.
const maxFrames = 1 << 10

// of returns a frame by what is written of it.
func (f *frames) of(written string) (*frame, error) {
	if its := (*f)[written]; its != nil {
		return its, nil
	}
	its, err := readFrame(written)
	if err != nil {
		return nil, err
	}
	if *f == nil || len(*f) >= maxFrames {
		*f = frames{}
	}
	(*f)[written] = &its
	return &its, nil
}

// check returns an error unless a run with the frame may have so many epochs. Milestones are those that follow from the
// spec, or nil if they have been compared before.
func (f *frame) check(milestones []uint32, flags byte, epochs uint64) error {
	if milestones != nil && !slices.Equal(f.run.Milestones, milestones) {
		return fmt.Errorf("%w: it has milestones %v, not %v", errSealed, f.run.Milestones, milestones)
	}
	last := len(f.run.Milestones) - 1
	if last < 0 || epochs == 0 || epochs > uint64(f.run.Milestones[last]) || flags&^allFlags != 0 ||
		flags&hasLengths != 0 && flags&scoreFollows != 0 {
		return errSealed
	}
	return nil
}

// open returns the run that has the frame and the data. As for milestones, see check.
func (f *frame) open(data []byte, terms *Terms, milestones []uint32, in *memory) (*Trajectory, error) {
	r := reader{data: data, memory: in}
	flags, epochs := r.byte(), r.uvarint()
	if err := f.check(milestones, flags, epochs); err != nil {
		return nil, err
	}
	run := next(&in.runs)
	run.Milestones, run.State, run.StopReason = f.run.Milestones, f.run.State, f.run.StopReason
	run.Failures, run.Error, run.SharedFrom, run.Spared = f.run.Failures, f.run.Error, f.run.SharedFrom, f.run.Spared
	run.Epochs, run.ModifyIndex = uint32(epochs), r.uvarint()
	if n := len(f.run.Trainings); n > 0 {
		run.Trainings = make([]*trellisv1.Training, n)
		for i, of := range f.run.Trainings {
			training := next(&in.trainings)
			training.Attempt = attemptsFrom(run) - uint64(protowire.DecodeZigZag(r.uvarint()))
			training.Worker, training.Machine = of.Worker, of.Machine
			training.After, training.Until, training.MaxEpochs = of.After, of.Until-1, of.MaxEpochs
			if of.Until == 0 {
				training.Until = run.Epochs
			}
			run.Trainings[i] = training
		}
	}
	if flags&secondsFollow == 0 {
		run.TrainingSeconds = r.number()
	}
	t := next(&in.trajectories)
	t.Run, t.Terms, t.Losses = run, terms, f.rows(&r, int(run.Epochs), flags)
	if flags&secondsFollow != 0 {
		run.TrainingSeconds = sumOf(t.Losses.Seconds)
	}
	if flags&attemptFollows != 0 {
		run.AttemptEpochs = run.Epochs
	}
	if flags&hasOwn != 0 {
		own := &trellisv1.Run{}
		r.message(own)
		run.Checkpoints, run.MissingWeights, run.Outputs = own.Checkpoints, own.MissingWeights, own.Outputs
		run.SharedEpochs, run.SharedSeconds, run.Audit = own.SharedEpochs, own.SharedSeconds, own.Audit
		run.TrainLoss, run.ValidationLoss, run.BestValidationLoss = own.TrainLoss, own.ValidationLoss, own.BestValidationLoss
		run.Objective, run.Metric, run.BestEpoch = own.Objective, own.Metric, own.BestEpoch
		run.AttemptEpochs = max(run.AttemptEpochs, own.AttemptEpochs)
	}
	if flags&hasAnswers != 0 {
		for len(r.data) > 0 && r.err == nil {
			answer := &trellisv1.Trial{}
			r.message(answer)
			t.Answers = append(t.Answers, answer)
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if len(r.data) > 0 || !t.Sealable() || EpochsIn(t.Losses) != int(run.Epochs) ||
		t.Answers != nil && len(t.Answers) != len(run.Milestones) {
		return nil, errSealed
	}
	if flags&scoreFollows != 0 {
		if !t.hasScore() {
			return nil, errSealed
		}
		t.setScore(t.scoreAt(run.Epochs))
	}
	return t, nil
}

// rows reads the losses of a run.
func (f *frame) rows(r *reader, epochs int, flags byte) *trellisv1.Losses {
	losses := next(&r.memory.losses)
	length := func() int { return epochs }
	if flags&hasLengths != 0 {
		// No row is longer. The data bounds less: a bit of it may be a number.
		length = func() int {
			n := r.uvarint()
			if n > uint64(epochs) {
				r.fail()
			}
			return int(min(n, uint64(epochs)))
		}
	}
	training, validation := length(), 0
	if flags&hasLengths != 0 {
		validation = length()
	} else if validation = training; f.losses.Epochs > 0 {
		training, validation = 0, 0
	}
	lengths := make([]int, len(f.metrics))
	for i := range lengths {
		lengths[i] = length()
	}
	seconds := length()
	losses.TrainLoss = r.floats(training, nil)
	losses.ValidationLoss = r.floats(validation, losses.TrainLoss)
	if len(f.metrics) > 0 {
		losses.Metrics = make(map[string]*trellisv1.Series, len(f.metrics))
	}
	for i, name := range f.metrics {
		losses.Metrics[name] = &trellisv1.Series{
			Values: r.floats(lengths[i], nil), Missing: f.losses.Metrics[name].GetMissing(),
		}
	}
	losses.Seconds = r.seconds(seconds)
	if len(f.tested) > 0 {
		losses.TestLoss = make(map[uint32]float64, len(f.tested))
	}
	for _, epoch := range f.tested {
		losses.TestLoss[epoch] = r.number()
	}
	if len(f.testMetrics) > 0 {
		losses.TestMetrics = make(map[uint32]*trellisv1.Metrics, len(f.testMetrics))
		for _, epoch := range slices.Sorted(maps.Keys(f.testMetrics)) {
			values := make(map[string]float64, len(f.testMetrics[epoch]))
			for _, name := range f.testMetrics[epoch] {
				values[name] = r.number()
			}
			losses.TestMetrics[epoch] = &trellisv1.Metrics{Values: values}
		}
	}
	if f.losses.Epochs > 0 {
		losses.Epochs = uint32(epochs)
	}
	return losses
}
