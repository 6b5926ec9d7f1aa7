package listing

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/objective"
)

// Ranking is how the trials of a study are ranked by their objectives. The zero value is that of most studies: the lower
// objective ranks first.
type Ranking struct {
	// Maximize says that the higher objective ranks first.
	Maximize bool
}

// RankingOf returns the ranking of a study.
func RankingOf(spec *trellisv1.StudySpec) Ranking { return RankingBy(spec.GetObjective()) }

// RankingBy returns the ranking by an objective.
func RankingBy(o *trellisv1.Objective) Ranking { return Ranking{objective.Maximizes(o)} }

// Compare ranks two trials of a study. It returns a negative number if a ranks before b. The better objective ranks
// first. NaN, infinities and a missing objective rank last, and equal to one another. Of tied trials, the one with
// fewer latent dimensions ranks first, then the one with fewer maximum epochs, then the one with the lower index. So no
// two trials rank equally.
func (r Ranking) Compare(a, b *trellisv1.Trial) int {
	return cmp.Or(
		r.CompareObjectives(a.Objective, b.Objective),
		cmp.Compare(latentDim(a.GetParameters()), latentDim(b.GetParameters())),
		cmp.Compare(a.GetParameters().GetMaxEpochs(), b.GetParameters().GetMaxEpochs()),
		cmp.Compare(a.GetIndex(), b.GetIndex()),
	)
}

// latentDim is a point's number of latent dimensions, by which ties are broken: 0 if it has none.
func latentDim(p *trellisv1.Parameters) uint32 {
	value, numeric := p.GetValues()[grid.LatentDim].Numeric()
	if !numeric || value < 0 || value > math.MaxUint32 {
		return 0
	}
	return uint32(value)
}

// CompareObjectives ranks objectives as Compare does.
func (r Ranking) CompareObjectives(a, b *float64) int {
	switch {
	case Finite(a) && Finite(b) && r.Maximize:
		return cmp.Compare(*b, *a)
	case Finite(a) && Finite(b):
		return cmp.Compare(*a, *b)
	case Finite(a):
		return -1
	case Finite(b):
		return 1
	}
	return 0
}

// Finite says whether there is a loss that is a finite number.
func Finite(loss *float64) bool { return loss != nil && !math.IsNaN(*loss) && !math.IsInf(*loss, 0) }

// Key orders trials by its bytes: one field (8 bytes), and then what breaks ties: latent dimension (4), maximum epochs
// (4) and index (8), all big-endian.
type Key [24]byte

// Compare returns a negative number if a key is below another one.
func (k Key) Compare(other Key) int {
	// Most differ in the field.
	if a, b := binary.BigEndian.Uint64(k[:]), binary.BigEndian.Uint64(other[:]); a != b {
		return cmp.Compare(a, b)
	}
	return bytes.Compare(k[8:], other[8:])
}

// Parts returns what a key consists of: the field, the latent dimension, the maximum epochs and the index.
func (k Key) Parts() [4]uint64 {
	return [4]uint64{
		binary.BigEndian.Uint64(k[0:]), uint64(binary.BigEndian.Uint32(k[8:])),
		uint64(binary.BigEndian.Uint32(k[12:])), binary.BigEndian.Uint64(k[16:]),
	}
}

// LastFinite is a key that is above those of all trials with a finite objective, in the order of Compare, and below
// those of all others. No trial has this key, because every trial has at least one epoch, which comes after the
// objective.
var LastFinite = Key{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// NewKey returns the key of a trial in the order of a field.
func NewKey(field uint64, trial *trellisv1.Trial) Key {
	var k Key
	binary.BigEndian.PutUint64(k[0:], field)
	binary.BigEndian.PutUint32(k[8:], latentDim(trial.GetParameters()))
	binary.BigEndian.PutUint32(k[12:], trial.GetParameters().GetMaxEpochs())
	binary.BigEndian.PutUint64(k[16:], trial.GetIndex())
	return k
}

// Place is a key as numbers: the field, what breaks ties before the index, and the index.
type Place struct{ Number, Ties, Index uint64 }

// Ties is what breaks ties between trials before their indexes do: the latent dimension, then the maximum epochs.
func Ties(trial *trellisv1.Trial) uint64 {
	return uint64(latentDim(trial.GetParameters()))<<32 | uint64(trial.GetParameters().GetMaxEpochs())
}

// After says whether the place is after another one.
func (p Place) After(other Place) bool {
	if p.Number != other.Number {
		return p.Number > other.Number
	}
	if p.Ties != other.Ties {
		return p.Ties > other.Ties
	}
	return p.Index > other.Index
}

// Key returns the key of a place.
func (p Place) Key() (k Key) {
	binary.BigEndian.PutUint64(k[0:], p.Number)
	binary.BigEndian.PutUint64(k[8:], p.Ties)
	binary.BigEndian.PutUint64(k[16:], p.Index)
	return k
}

// Place returns the place of a key.
func (k Key) Place() Place {
	return Place{binary.BigEndian.Uint64(k[0:]), binary.BigEndian.Uint64(k[8:]), binary.BigEndian.Uint64(k[16:])}
}

// Index returns the index of the trial.
func (k Key) Index() uint64 { return binary.BigEndian.Uint64(k[16:]) }

// Key returns the key whose order is that of Compare.
func (r Ranking) Key(trial *trellisv1.Trial) Key { return NewKey(r.order(trial), trial) }

// ObjectiveOf returns the finite objective of the trial that has a key.
func (r Ranking) ObjectiveOf(k Key) float64 {
	order := k.Parts()[0]
	if r.Maximize {
		order = ^order
	}
	const sign = 1 << 63
	if order&sign != 0 {
		return math.Float64frombits(order &^ sign)
	}
	return math.Float64frombits(^order)
}

// order returns a number that sorts trials by rank, best first, or missing.
func (r Ranking) order(trial *trellisv1.Trial) uint64 {
	order := lossOrder(trial.Objective)
	if r.Maximize && order != missing {
		return ^order
	}
	return order
}

// lossOrder maps losses to whole numbers with the same order: flip the sign bit of positive numbers, and all bits of
// negative ones.
func lossOrder(loss *float64) uint64 {
	if !Finite(loss) {
		return missing
	}
	// The sum takes -0 to 0, which it is equal to.
	bits := math.Float64bits(*loss + 0)
	const sign = 1 << 63
	if bits&sign != 0 {
		return ^bits
	}
	return bits | sign
}
