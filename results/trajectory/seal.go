package trajectory

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// A run that has succeeded rarely changes again, and takes several times as much memory as a message as it takes
// written. So the store keeps such runs sealed: written without what follows from the study's spec, or from the rest.

// Sealable says whether a run may be sealed: it has succeeded, and nothing is to be decided about it, or trained again.
func (t *Trajectory) Sealable() bool {
	run := t.Run
	return run.State == lifecycle.RunSucceeded && run.Worker == "" && run.Dispute == nil && run.Decided == nil &&
		!AuditDue(run)
}

// errSealed says that what should be a sealed run is none.
var errSealed = errors.New("not a sealed run")

// Seal appends a run, its losses and its trials' results to data. indexes are those of its trials, by milestone.
func (t *Trajectory) Seal(data []byte, indexes []uint64) ([]byte, error) {
	run := CopyRun(t.Run)
	run.Study, run.Id, run.Parameters, run.FirstTrial, run.Place = "", "", nil, 0, 0
	losses := CopyLosses(t.Losses)
	losses.Study, losses.Run = "", ""
	messages := []proto.Message{run, losses}
	if !t.answersFollow(indexes) {
		for _, answer := range t.Answers {
			answer = CopyTrial(answer)
			answer.Study, answer.Run, answer.Parameters = "", "", nil
			messages = append(messages, answer)
		}
	}
	for _, message := range messages {
		options := proto.MarshalOptions{Deterministic: true}
		data = protowire.AppendVarint(data, uint64(options.Size(message)))
		var err error
		if data, err = options.MarshalAppend(data, message); err != nil {
			return nil, fmt.Errorf("seal run %s: %w", t.Run.Id, err)
		}
	}
	return data, nil
}

// answersFollow says whether the results of a run's trials are those that follow from the run now.
func (t *Trajectory) answersFollow(indexes []uint64) bool {
	for milestone, answer := range t.Answers {
		if !sameAnswer(answer, lateAnswer(t, t.Run.Milestones[milestone], indexes[milestone])) {
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

// Unseal returns a run that Seal has written. as is the run as it follows from the study's spec, of which it becomes part.
// indexes returns those of the trials at milestones.
func Unseal(
	data []byte, as *trellisv1.Run, terms *Terms, indexes func(milestones []uint32) []uint64,
) (*Trajectory, error) {
	t, err := UnsealRun(data)
	if err != nil {
		return nil, err
	}
	run := t.Run
	run.Study, run.Id, run.FirstTrial, run.Place = as.Study, as.Id, as.FirstTrial, as.Place
	run.Parameters = ParametersAt(as, run.Milestones[len(run.Milestones)-1])
	t.Losses.Study, t.Losses.Run, t.Terms = run.Study, run.Id, terms
	its := indexes(run.Milestones)
	if t.Answers != nil {
		for milestone, answer := range t.Answers {
			answer.Study, answer.Run, answer.Parameters = run.Study, run.Id, ParametersAt(run, run.Milestones[milestone])
		}
		return t, nil
	}
	t.Answers = make([]*trellisv1.Trial, 0, len(run.Milestones))
	for milestone, epochs := range run.Milestones {
		t.Answers = append(t.Answers, lateAnswer(t, epochs, its[milestone]))
	}
	return t, nil
}

// UnsealRun returns what Seal has written, without what follows from the study's spec. It has no answers if these follow
// from the run.
func UnsealRun(data []byte) (*Trajectory, error) {
	t := &Trajectory{Run: &trellisv1.Run{}, Losses: &trellisv1.Losses{}}
	data, err := unsealed(data, t.Run)
	if err == nil {
		data, err = unsealed(data, t.Losses)
	}
	if err != nil {
		return nil, err
	}
	run := t.Run
	if len(run.Milestones) == 0 || !t.Sealable() || run.Epochs > run.Milestones[len(run.Milestones)-1] || run.Epochs == 0 ||
		EpochsIn(t.Losses) != int(run.Epochs) {
		return nil, errSealed
	}
	for len(data) > 0 {
		answer := &trellisv1.Trial{}
		if data, err = unsealed(data, answer); err != nil {
			return nil, err
		}
		t.Answers = append(t.Answers, answer)
	}
	if t.Answers != nil && len(t.Answers) != len(run.Milestones) {
		return nil, errSealed
	}
	return t, nil
}

// unsealed reads the message at the start of data, and returns what follows it.
func unsealed(data []byte, message proto.Message) ([]byte, error) {
	own, n := protowire.ConsumeBytes(data)
	if n < 0 {
		return nil, errSealed
	}
	if err := proto.Unmarshal(own, message); err != nil {
		return nil, fmt.Errorf("%w: %w", errSealed, err)
	}
	return data[n:], nil
}
