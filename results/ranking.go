package results

import (
	"cmp"
	"encoding/binary"
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// Compare ranks two trials of a study: negative if a ranks before b. The lower objective ranks first. NaN, infinities
// and a missing objective rank last and equal to one another. Ties go to fewer latent dimensions, then to fewer maximum
// epochs, then to the lower index, so that no two trials rank equally.
func Compare(a, b *trellisv1.Trial) int {
	return cmp.Or(
		compareLosses(a.Objective, b.Objective),
		cmp.Compare(a.GetParameters().GetLatentDim(), b.GetParameters().GetLatentDim()),
		cmp.Compare(a.GetParameters().GetMaxEpochs(), b.GetParameters().GetMaxEpochs()),
		cmp.Compare(a.GetIndex(), b.GetIndex()),
	)
}

func compareLosses(a, b *float64) int {
	switch {
	case finite(a) && finite(b):
		return cmp.Compare(*a, *b)
	case finite(a):
		return -1
	case finite(b):
		return 1
	}
	return 0
}

func finite(loss *float64) bool { return loss != nil && !math.IsNaN(*loss) && !math.IsInf(*loss, 0) }

// sortKey puts trials in an order by its bytes: by one field, 8 bytes, then by what breaks ties, latent dimension (4),
// maximum epochs (4) and index (8), all big-endian.
type sortKey [24]byte

func newSortKey(field uint64, trial *trellisv1.Trial) sortKey {
	var k sortKey
	binary.BigEndian.PutUint64(k[0:], field)
	binary.BigEndian.PutUint32(k[8:], trial.GetParameters().GetLatentDim())
	binary.BigEndian.PutUint32(k[12:], trial.GetParameters().GetMaxEpochs())
	binary.BigEndian.PutUint64(k[16:], trial.GetIndex())
	return k
}

// rankKey is the sortKey whose order is that of Compare.
func rankKey(trial *trellisv1.Trial) sortKey { return newSortKey(lossOrder(trial.Objective), trial) }

// lossOrder takes losses to whole numbers of the same order: with its sign bit flipped, a positive float64 sorts by its
// bits above the negative ones, whose bits all have to be flipped.
func lossOrder(loss *float64) uint64 {
	if !finite(loss) {
		return math.MaxUint64
	}
	// The sum takes -0 to 0, which it is equal to.
	bits := math.Float64bits(*loss + 0)
	const sign = 1 << 63
	if bits&sign != 0 {
		return ^bits
	}
	return bits | sign
}
