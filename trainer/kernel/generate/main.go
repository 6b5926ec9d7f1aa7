// Command generate writes the vector kernels of trellis/trainer/kernel: assembly and its Go declarations. The kernels'
// package has the go:generate line that runs it.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A width is one of the two sizes of vector registers.
type width struct {
	name  string
	bytes int
	// new allocates a vector register.
	new func() VecVirtual
}

var (
	avx512 = width{"AVX512", 64, ZMM}
	avx2   = width{"AVX2", 32, YMM}
)

// floats is the number of float32 in a register.
func (w width) floats() int { return w.bytes / 4 }

// several allocates n vector registers.
func (w width) several(n int) []VecVirtual {
	registers := make([]VecVirtual, n)
	for i := range registers {
		registers[i] = w.new()
	}
	return registers
}

// zero clears a register.
func (w width) zero(register VecVirtual) {
	if w.bytes == 64 {
		VPXORD(register, register, register)
		return
	}
	VXORPS(register, register, register)
}

// multiplyAdd emits sum[i] += factor * values[i] for a factor in memory. A single product takes the broadcast into the
// instruction where the processor can.
func (w width) multiplyAdd(factor Mem, spare VecVirtual, values, sums []VecVirtual) {
	if w.bytes == 64 && len(values) == 1 {
		VFMADD231PS_BCST(factor, values[0], sums[0])
		return
	}
	VBROADCASTSS(factor, spare)
	for i := range values {
		VFMADD231PS(spare, values[i], sums[i])
	}
}

// function starts a kernel. None keeps its pointers.
func function(name, signature string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
}

// argument loads an argument into a general register.
func argument(name string) GPVirtual {
	register := GP64()
	Load(Param(name), register)
	return register
}

// label makes a name that is used once.
func label(format string, arguments ...any) string {
	labels++
	return fmt.Sprintf(format, arguments...) + fmt.Sprintf("_%d", labels)
}

var labels int

// strided addresses base + n*stride + offset for n from 0 to 15: the caller allocates once and sets the base as often
// as it wants.
type strided struct {
	base, stride, stride3 GPVirtual
	bases                 [3]GPVirtual // 4, 8 and 12 strides on.
}

// newStrided takes a stride of which up to count multiples are needed.
func newStrided(stride GPVirtual, count int) strided {
	s := strided{stride: stride}
	if count > 3 {
		s.stride3 = GP64()
		LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s.stride3)
	}
	return s
}

// at sets the base.
func (s *strided) at(base GPVirtual, count int) {
	s.base = base
	for i := range s.more(count) {
		s.bases[i] = GP64()
		LEAQ(Mem{Base: base, Index: s.stride, Scale: 4}, s.bases[i])
		base = s.bases[i]
	}
}

// more are the bases beside the first that count multiples need.
func (s *strided) more(count int) []GPVirtual { return s.bases[:(count-1)/4] }

// mem is the address of number n.
func (s *strided) mem(n int) Mem {
	base := s.base
	if n >= 4 {
		base, n = s.bases[n/4-1], n%4
	}
	switch n {
	case 0:
		return Mem{Base: base}
	case 3:
		return Mem{Base: base, Index: s.stride3, Scale: 1}
	}
	return Mem{Base: base, Index: s.stride, Scale: uint8(n)}
}

func main() {
	ConstraintExpr("!purego")
	for _, shape := range []struct {
		width
		positions, channels int
	}{
		{avx512, 3, 8},
		{avx512, 2, 8},
		{avx512, 1, 8},
		{avx512, 1, 16},
		{avx512, 6, 4},
		{avx512, 8, 3},
		{avx512, 8, 2},
		{avx512, 8, 1},
		{avx512, 4, 1},
		{avx2, 3, 4},
		{avx2, 2, 4},
		{avx2, 4, 3},
		{avx2, 6, 2},
		{avx2, 8, 1},
		{avx2, 4, 1},
	} {
		gather(shape.width, shape.positions, shape.channels)
	}
	gatherLinear(avx512, 16, 16)
	gatherLinear(avx512, 10, 10)
	gatherLinear(avx512, 8, 8)
	gatherLinear(avx2, 16, 6, 6, 4)
	gatherLinear(avx2, 10, 5, 5)
	gatherLinear(avx2, 8, 4, 4)
	gatherSquare(avx512, 6)
	gatherSquare(avx512, 3)
	gatherSquare(avx2, 3)
	gatherSquare3x3(avx512, 6)
	gatherSquare3x3(avx512, 3)
	gatherSquare3x3(avx2, 3)
	for _, shape := range []struct {
		width
		chosen int
	}{
		{avx512, 8},
		{avx512, 4},
		{avx512, 1},
		{avx2, 4},
		{avx2, 1},
	} {
		for other := 1; other <= 3; other++ {
			outerByLane(shape.width, shape.chosen, other, false)
			if other > 1 {
				outerByLane(shape.width, shape.chosen, other, true)
			}
		}
	}
	for _, shape := range []struct {
		width
		vectors, other int
	}{
		{avx512, 3, 8},
		{avx512, 2, 8},
		{avx512, 1, 8},
		{avx512, 1, 16},
		{avx512, 3, 1},
		{avx512, 2, 1},
		{avx512, 1, 1},
		{avx2, 3, 4},
		{avx2, 2, 4},
		{avx2, 3, 1},
		{avx2, 2, 1},
	} {
		outerByChannel(shape.width, shape.vectors, shape.other)
	}
	for _, shape := range []struct {
		width
		vectors, other int
	}{
		{avx512, 2, 10},
		{avx512, 2, 8},
		{avx512, 2, 4},
		{avx512, 2, 1},
		{avx512, 1, 16},
		{avx512, 1, 8},
		{avx512, 1, 1},
		{avx2, 2, 6},
		{avx2, 2, 5},
		{avx2, 2, 4},
		{avx2, 2, 1},
	} {
		outerLinear(shape.width, shape.vectors, shape.other)
	}
	peak(avx512)
	peak(avx2)
	transpose()
	copyBlocks()
	sumPositions()
	sumLanes()
	sigmoid(avx512)
	sigmoid(avx2)
	exp(avx512)
	exp(avx2)
	reluBackward()
	sigmoidBackward()
	addScaled(avx512)
	addScaled(avx2)
	normal()
	squaredError(avx512)
	squaredError(avx2)
	squaredErrorBackward()
	sigmoidSquaredErrorBackward()
	sigmoidSquaredErrorBackwardWide()
	adam()
	adamTiny()
	fillTile()
	fillRows()
	subtractLargest()
	subtractLogarithm()
	logSoftmaxBackward()
	mostProbable()
	least()
	smallRows()
	zeroRows()
	scaleWeights()
	scaleInputs()
	positive()
	scaleColumns()
	gatherTiny()
	gatherFaint()
	Generate()
}
