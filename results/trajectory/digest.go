package trajectory

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"

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

// Digest is the hash of a study's points and results so far: see DESIGN.md of package results. Runs are added in the order of
// their ids.
type Digest struct{ sum hash.Hash }

// NewDigest returns the digest of no runs.
func NewDigest() Digest {
	sum := sha256.New()
	sum.Write([]byte(digestHeader))
	return Digest{sum}
}

// Add adds what AppendDigested and the like have returned, of one or more runs.
func (d Digest) Add(data []byte) { d.sum.Write(data) }

// String returns the digest of what has been added, in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d.sum.Sum(nil)) }

// AppendDigested appends a run, its trials, and its losses and metrics as far as results of trials depend on them.
func AppendDigested(data []byte, member *Trajectory) []byte {
	epochs, answered := uint32(0), len(member.Answers)
	if answered > 0 {
		epochs = member.Answers[answered-1].Epochs
	}
	return appendDigested(data, member.Run, answered, epochs, member.Losses)
}

// Digester appends sealed runs, one after the other, as AppendDigested does. It keeps what runs have in common, and reads of
// most runs nothing but what the digest depends on. It is not safe for concurrent use.
type Digester struct {
	frames      frames
	row, beside []float64
}

// Append appends the run in a slot, which has the id.
func (d *Digester) Append(data []byte, s *Sealed, slot int, id [16]byte, terms *Terms) ([]byte, error) {
	number, sealed, err := s.run(slot)
	if err != nil {
		return nil, err
	}
	its, err := d.frames.of(s.frames[number])
	if err != nil {
		return nil, err
	}
	r := reader{data: sealed}
	flags, epochs := r.byte(), r.uvarint()
	if err := its.check(nil, flags, epochs); err != nil {
		return nil, err
	}
	if flags&(hasLengths|hasAnswers) != 0 || its.losses.Epochs > 0 {
		t, err := its.open(sealed, terms, nil, &memory{})
		if err != nil {
			return nil, err
		}
		return appendUnsealed(data, t, hex.EncodeToString(id[:])), nil
	}
	r.skip(1 + len(its.run.Trainings)) // modify_index and attempts
	if flags&secondsFollow == 0 {
		r.number()
	}
	data = binary.BigEndian.AppendUint32(data, uint32(hex.EncodedLen(len(id))))
	data = hex.AppendEncode(data, id[:])
	data = appendDigestedTrials(data, its.run, len(its.run.Milestones), uint32(epochs))
	d.row = r.floatsInto(d.row, int(epochs), nil)
	data = appendLossBits(data, d.row)
	d.beside = r.floatsInto(d.beside, int(epochs), d.row)
	data = appendLossBits(data, d.beside)
	if len(its.metrics) > 0 {
		data = binary.BigEndian.AppendUint32(data, metricsFollow)
		data = binary.BigEndian.AppendUint32(data, uint32(len(its.metrics)))
	}
	for _, name := range its.metrics {
		data = binary.BigEndian.AppendUint32(data, uint32(len(name)))
		data = append(data, name...)
		d.row = r.floatsInto(d.row, int(epochs), nil)
		data = appendLossBits(data, d.row)
	}
	return data, r.err
}

// appendUnsealed appends a run that has been unsealed, and has the id.
func appendUnsealed(data []byte, t *Trajectory, id string) []byte {
	run, answered := t.Run, len(t.Run.Milestones)
	run.Id = id
	epochs := min(run.Epochs, run.Milestones[answered-1])
	if t.Answers != nil {
		epochs = t.Answers[answered-1].Epochs
	}
	return appendDigested(data, run, answered, epochs, t.Losses)
}

// appendDigested appends a run of whose trials so many have results, up to an epoch.
func appendDigested(data []byte, run *trellisv1.Run, answered int, epochs uint32, losses *trellisv1.Losses) []byte {
	data = binary.BigEndian.AppendUint32(data, uint32(len(run.Id)))
	data = append(data, run.Id...)
	data = appendDigestedTrials(data, run, answered, epochs)
	switch {
	case epochs > 0 && losses.Epochs > 0:
		data = binary.BigEndian.AppendUint32(data, programFollows)
		data = appendDigestedOwnMetrics(data, MetricsUpTo(losses.Metrics, epochs))
	case epochs > 0:
		data = appendLossBits(data, losses.TrainLoss[:epochs])
		data = appendLossBits(data, losses.ValidationLoss[:epochs])
		data = appendDigestedMetrics(data, losses.Metrics, epochs)
	}
	return data
}

// appendDigestedTrials appends how the trials of a run stand, and the epochs that their results depend on.
func appendDigestedTrials(data []byte, run *trellisv1.Run, answered int, epochs uint32) []byte {
	data = binary.BigEndian.AppendUint32(data, uint32(len(run.Milestones)))
	for i, milestone := range run.Milestones {
		stands := byte(answeredTrial)
		if i >= answered {
			stands = unansweredTrials[Unanswered(run)]
		}
		data = append(binary.BigEndian.AppendUint32(data, milestone), stands)
	}
	return binary.BigEndian.AppendUint32(data, epochs)
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

// DigestOf returns the digest of n runs. Each of several goroutines, as many as there are cores, calls begin once, and with what
// that returns appends runs by their positions in the order of ids. The digest is given up once interrupted returns an error.
func DigestOf(
	n int, interrupted func() error, begin func() func(data []byte, i int) ([]byte, error),
) (string, error) {
	type part struct {
		data []byte
		err  error
	}
	const runs = 256
	digest, parts := NewDigest(), make([]chan part, max(1, runtime.GOMAXPROCS(0)))
	free := make(chan []byte, 3*len(parts))
	stop := make(chan struct{})
	var all sync.WaitGroup
	for k := range parts {
		parts[k] = make(chan part, 2)
		all.Go(func() {
			appendTo := begin()
			for from := k * runs; from < n; from += len(parts) * runs {
				its := part{err: interrupted()}
				select {
				case its.data = <-free:
				default:
				}
				for i := from; i < min(n, from+runs) && its.err == nil; i++ {
					its.data, its.err = appendTo(its.data, i)
				}
				select {
				case parts[k] <- its:
				case <-stop:
					return
				}
			}
		})
	}
	defer all.Wait()
	defer close(stop)
	for from := 0; from < n; from += runs {
		its := <-parts[from/runs%len(parts)]
		if its.err != nil {
			return "", its.err
		}
		digest.Add(its.data)
		select {
		case free <- its.data[:0]:
		default:
		}
	}
	return digest.String(), nil
}
