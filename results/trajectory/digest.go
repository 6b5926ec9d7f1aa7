package trajectory

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// The format of which a study's digest is the hash: see DESIGN.md. Any change to the format must change digestHeader
// too.
const (
	digestHeader = "trellis digest 1\n"
	// canonicalNaN has the bits that are used for every NaN.
	canonicalNaN = 0x7ff8000000000000
	// metricsFollow says that a run has metrics. No id is that long, so it can't be mistaken for the next run.
	metricsFollow = math.MaxUint32
	// programFollows says that a program has reported a run, which has metrics alone.
	programFollows = math.MaxUint32 - 1
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

// Digest returns the SHA-256 of a study's points and results so far, in hexadecimal: see DESIGN.md of package results.
// members are all runs of the study. Digest sorts them by id.
func Digest(members []*Trajectory) string {
	slices.SortFunc(members, func(a, b *Trajectory) int { return strings.Compare(a.Run.Id, b.Run.Id) })
	sum := sha256.New()
	data := []byte(digestHeader)
	for _, member := range members {
		data = appendDigested(data, member)
		sum.Write(data)
		data = data[:0]
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// appendDigested appends a run, its trials, and its losses and metrics as far as results of trials depend on them.
func appendDigested(data []byte, member *Trajectory) []byte {
	run, epochs := member.Run, uint32(0)
	data = binary.BigEndian.AppendUint32(data, uint32(len(run.Id)))
	data = append(data, run.Id...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(run.Milestones)))
	for i, milestone := range run.Milestones {
		stands := unansweredTrials[Unanswered(run)]
		if i < len(member.Answers) {
			stands, epochs = answeredTrial, member.Answers[i].Epochs
		}
		data = append(binary.BigEndian.AppendUint32(data, milestone), stands)
	}
	data = binary.BigEndian.AppendUint32(data, epochs)
	switch {
	case epochs > 0 && member.Losses.Epochs > 0:
		data = binary.BigEndian.AppendUint32(data, programFollows)
		data = appendDigestedOwnMetrics(data, MetricsUpTo(member.Losses.Metrics, epochs))
	case epochs > 0:
		data = appendLossBits(data, member.Losses.TrainLoss[:epochs])
		data = appendLossBits(data, member.Losses.ValidationLoss[:epochs])
		data = appendDigestedMetrics(data, member.Losses.Metrics, epochs)
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

// appendDigestedOwnMetrics appends the metrics that a program has reported: their values, and the positions of those that
// are missing.
func appendDigestedOwnMetrics(data []byte, metrics map[string]*trellisv1.Series) []byte {
	data = binary.BigEndian.AppendUint32(data, uint32(len(metrics)))
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		data = binary.BigEndian.AppendUint32(data, uint32(len(name)))
		data = append(data, name...)
		data = appendLossBits(data, metrics[name].Values)
		data = binary.BigEndian.AppendUint32(data, uint32(len(metrics[name].Missing)))
		for _, place := range metrics[name].Missing {
			data = binary.BigEndian.AppendUint32(data, place)
		}
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
