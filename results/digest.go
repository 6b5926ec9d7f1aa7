package results

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// The form that a study's digest is taken of: see DESIGN.md. Whatever changes it changes digestHeader too.
const (
	digestHeader = "trellis digest 1\n"
	// canonicalNaN has the bits of every loss that is not a number.
	canonicalNaN = 0x7ff8000000000000
	// metricsFollow says that a run has metrics. No id is that long, so that it is not the next run.
	metricsFollow = math.MaxUint32
	// answeredTrial and unansweredTrials say how a trial stands.
	answeredTrial = 'a'
)

var unansweredTrials = map[trellisv1.TrialState]byte{
	lifecycle.TrialPending:  'o',
	lifecycle.TrialRunning:  'o',
	lifecycle.TrialPruned:   'p',
	lifecycle.TrialFailed:   'f',
	lifecycle.TrialCanceled: 'c',
}

// Digest is the SHA-256 of what a study has asked and been answered so far, in hexadecimal: see DESIGN.md. Two studies of the
// same points, trained with the same numerics, have the same digest once they are complete, wherever, whenever and however
// they came to it. It fails with ErrNotFound if there is no such study.
func (s *Snapshot) Digest(study string) (string, error) {
	c, err := s.catalog(study)
	if err != nil {
		return "", err
	}
	members, err := s.membersOf(study)
	if err != nil {
		return "", fmt.Errorf("digest of study %s: %w", study, err)
	}
	return digestOf(slices.AppendSeq(make([]*member, 0, len(c.places)), members)), nil
}

// digestOf puts a study's members into the order of their ids and digests them.
func digestOf(members []*member) string {
	slices.SortFunc(members, func(a, b *member) int { return strings.Compare(a.run.Id, b.run.Id) })
	sum := sha256.New()
	data := []byte(digestHeader)
	for _, member := range members {
		data = appendDigested(data, member)
		sum.Write(data)
		data = data[:0]
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// appendDigested appends a run, its trials, and its losses and metrics as far as they have answered any of these.
func appendDigested(data []byte, member *member) []byte {
	run, epochs := member.run, uint32(0)
	data = binary.BigEndian.AppendUint32(data, uint32(len(run.Id)))
	data = append(data, run.Id...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(run.Milestones)))
	for i, milestone := range run.Milestones {
		stands := unansweredTrials[openStates[run.State]]
		if i < len(member.answers) {
			stands, epochs = answeredTrial, member.answers[i].Epochs
		}
		data = append(binary.BigEndian.AppendUint32(data, milestone), stands)
	}
	data = binary.BigEndian.AppendUint32(data, epochs)
	if epochs > 0 {
		data = appendLossBits(data, member.losses.TrainLoss[:epochs])
		data = appendLossBits(data, member.losses.ValidationLoss[:epochs])
		data = appendDigestedMetrics(data, member.losses.Metrics, epochs)
	}
	return data
}

// appendDigestedMetrics appends the metrics of a run's first epochs: nothing if it has none.
func appendDigestedMetrics(data []byte, metrics map[string]*trellisv1.Series, epochs uint32) []byte {
	if len(metrics) == 0 {
		return data
	}
	data = binary.BigEndian.AppendUint32(data, metricsFollow)
	data = binary.BigEndian.AppendUint32(data, uint32(len(metrics)))
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		data = binary.BigEndian.AppendUint32(data, uint32(len(name)))
		data = append(data, name...)
		data = appendLossBits(data, metrics[name].Values[:epochs])
	}
	return data
}

func appendLossBits(data []byte, losses []float64) []byte {
	for _, loss := range losses {
		bits := math.Float64bits(loss)
		if math.IsNaN(loss) {
			bits = canonicalNaN
		}
		data = binary.BigEndian.AppendUint64(data, bits)
	}
	return data
}
