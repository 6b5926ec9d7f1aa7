package stream

import "math/bits"

// Offsets draws by how many pixels images are moved: in each direction evenly from -reach to reach. Each image has its
// own draw, which depends neither on what else is drawn, nor on the order.
type Offsets struct {
	key uint64
	// count is how many offsets there are in a direction.
	count uint32
	reach int
}

// NewOffsets returns the offsets for a purpose and epoch of the run with that seed. reach is 0 or more.
func NewOffsets(seed uint32, purpose Purpose, epoch, reach int) *Offsets {
	return &Offsets{key: New(seed, purpose, epoch).source.Uint64(), count: uint32(2*reach + 1), reach: reach}
}

// Of returns the offset of an image, always the same: columns to the right and rows down, negative ones to the left and
// up.
func (o *Offsets) Of(image uint32) (right, down int) {
	draw := mix(o.key + uint64(image))
	// Some of the offsets are likelier than others by 1 in 2^32 / count, which nobody can tell.
	low, _ := bits.Mul32(uint32(draw), o.count)
	high, _ := bits.Mul32(uint32(draw>>32), o.count)
	return int(low) - o.reach, int(high) - o.reach
}
