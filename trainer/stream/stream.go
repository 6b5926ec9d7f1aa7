package stream

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// Purpose separates the streams of one run. A purpose's number is part of the numerics: it is never reused.
type Purpose uint32

// What numbers are drawn for.
const (
	// Weights are initial weights; the stream's epoch is the parameter's number.
	Weights Purpose = 1
	// BatchOrder is the order of the training images in an epoch.
	BatchOrder Purpose = 2
	// SyntheticLoss is the noise on the losses of the synthetic model.
	SyntheticLoss Purpose = 3
	// Noise on the images that a denoising network sees. Those of the validation and test images are the same in every
	// epoch: theirs is 0.
	TrainingNoise   Purpose = 4
	ValidationNoise Purpose = 5
	TestNoise       Purpose = 6
	// What a variational network draws from an image's distribution, likewise.
	TrainingSample   Purpose = 7
	ValidationSample Purpose = 8
	TestSample       Purpose = 9
	// TrainingShift is by how much training images are moved.
	TrainingShift Purpose = 10
)

// Stream is a sequence of random numbers that its key alone determines.
type Stream struct {
	source rand.ChaCha8
	// The half of a 64-bit draw that Uint32 has not handed out yet.
	spare    uint32
	hasSpare bool
}

// New returns the stream for a purpose and epoch of the run with that seed.
func New(seed uint32, purpose Purpose, epoch int) *Stream {
	s := &Stream{}
	s.Reset(seed, purpose, epoch)
	return s
}

// Reset makes the stream what New returns, in the memory that it has.
func (s *Stream) Reset(seed uint32, purpose Purpose, epoch int) {
	key := [32]byte{16: 't', 'r', 'e', 'l', 'l', 'i', 's'}
	binary.LittleEndian.PutUint32(key[0:], seed)
	binary.LittleEndian.PutUint32(key[4:], uint32(purpose))
	binary.LittleEndian.PutUint64(key[8:], uint64(epoch))
	s.source.Seed(key)
	s.spare, s.hasSpare = 0, false
}

// Uint32 returns the next 32 bits, low half of a 64-bit draw first.
func (s *Stream) Uint32() uint32 {
	if s.hasSpare {
		s.hasSpare = false
		return s.spare
	}
	draw := s.source.Uint64()
	s.spare, s.hasSpare = uint32(draw>>32), true
	return uint32(draw)
}

// below returns a number in [0, n), each with the same probability.
// Source: Lemire, "Fast Random Integer Generation in an Interval", 2019.
func (s *Stream) below(n uint32) uint32 {
	high, low := bits.Mul32(s.Uint32(), n)
	if low < n {
		for threshold := -n % n; low < threshold; {
			high, low = bits.Mul32(s.Uint32(), n)
		}
	}
	return high
}

// Permutation fills order with a random permutation of 0 to len(order)-1.
func (s *Stream) Permutation(order []uint32) {
	for i := range order {
		order[i] = uint32(i)
	}
	for i := len(order) - 1; i > 0; i-- {
		j := s.below(uint32(i) + 1)
		order[i], order[j] = order[j], order[i]
	}
}

// Uniform fills values with numbers drawn evenly from [-bound, bound), in steps of bound * 2^-23.
func (s *Stream) Uniform(values []float32, bound float32) {
	for i := range values {
		values[i] = s.Symmetric() * bound
	}
}

// Symmetric returns a number drawn evenly from [-1, 1), a multiple of 2^-23.
func (s *Stream) Symmetric() float32 {
	return float32(int32(s.Uint32()>>8)-1<<23) * (1.0 / (1 << 23))
}
