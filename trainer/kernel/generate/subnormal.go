package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Kernels that keep subnormal numbers away from multiply-adds. They compute with a number's bits where it may be
// subnormal. As those of elementwise.go, they exist in AVX2 alone.

// word broadcasts 32 bits.
func word(bits uint32) VecVirtual {
	register := YMM()
	VPBROADCASTD(constantMem(bits), register)
	return register
}

func least() {
	function("leastAVX2", "func(least, most *uint32, src *float32, count int)")
	Doc(
		"leastAVX2 computes, for 8 columns and count rows of src, least[i] = the least of |src[row*8 + i]|'s bits",
		"less 1, so that zeros do not count, and most[i] = the largest of |src[row*8 + i]|'s bits.",
	)
	least, most, src := argument("least"), argument("most"), argument("src")
	magnitude, ones := word(1<<31-1), word(1<<32-1)
	smallest, largest := YMM(), YMM()
	VPCMPEQD(smallest, smallest, smallest)
	VPXOR(largest, largest, largest)
	end, at := argument("count"), GP64()
	SHLQ(Imm(5), end)
	XORQ(at, at)
	loop := label("row")
	Label(loop)
	bits := YMM()
	VPAND(indexed(src, at), magnitude, bits)
	VPMAXUD(bits, largest, largest)
	VPADDD(ones, bits, bits)
	VPMINUD(bits, smallest, smallest)
	ADDQ(Imm(32), at)
	CMPQ(at, end)
	JNE(LabelRef(loop))
	VMOVDQU(smallest, Mem{Base: least})
	VMOVDQU(largest, Mem{Base: most})
	VZEROUPPER()
	RET()
}

func scaleWeights() {
	function("scaleWeightsAVX2", "func(dst, src *float32, count int)")
	Doc("scaleWeightsAVX2 computes dst[i] = 2^32 * src[i] for count vectors of 8.")
	dst, src := argument("dst"), argument("src")
	exponent, mantissa, sign := word(0xff<<23), word(1<<23-1), word(1<<31)
	scale, unit := avx2.constant(1<<32), avx2.constant(0x1p-117) // 2^32 times the least number.
	zero := YMM()
	VPXOR(zero, zero, zero)
	avx2.vectors(func(at GPVirtual) {
		value, subnormal, whole, negative := YMM(), YMM(), YMM(), YMM()
		VMOVUPS(indexed(src, at), value)
		VPAND(exponent, value, subnormal)
		VPCMPEQD(zero, subnormal, subnormal)
		VPAND(mantissa, value, whole)
		VCVTDQ2PS(whole, whole)
		VMULPS(unit, whole, whole)
		VPAND(sign, value, negative)
		VPOR(negative, whole, whole)
		VPANDN(value, subnormal, value)
		VMULPS(scale, value, value)
		VBLENDVPS(subnormal, whole, value, value)
		VMOVUPS(value, indexed(dst, at))
	})
}

func scaleInputs() {
	function("scaleInputsAVX2", "func(dst, src *float32, count int) bool")
	Doc(
		"scaleInputsAVX2 computes dst[i] = 2^-32 * src[i] for count vectors of 8, and returns whether these are exact,",
		"normal numbers, zeros, infinities or not numbers.",
	)
	dst, src := argument("dst"), argument("src")
	magnitude, ones, limit := word(1<<31-1), word(1<<32-1), word(33<<23-2)
	scale, small := avx2.constant(0x1p-32), YMM()
	VPXOR(small, small, small)
	end, at := argument("count"), GP64()
	SHLQ(Imm(5), end)
	XORQ(at, at)
	loop := label("vector")
	Label(loop)
	value, bits, least := YMM(), YMM(), YMM()
	VMOVUPS(indexed(src, at), value)
	VPAND(magnitude, value, bits)
	VPADDD(ones, bits, bits)
	VPMINUD(limit, bits, least)
	VPCMPEQD(bits, least, least)
	VPOR(least, small, small)
	VMULPS(scale, value, value)
	VMOVUPS(value, indexed(dst, at))
	ADDQ(Imm(32), at)
	CMPQ(at, end)
	JNE(LabelRef(loop))
	exact := GP8()
	VPTEST(small, small)
	SETEQ(exact)
	Store(exact, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func positive() {
	function("positiveAVX2", "func(dst *uint32, y *float32, count int)")
	Doc("positiveAVX2 sets dst[i] = all bits if one of vector i of 16 is positive or not a number, else 0.")
	dst, y, count := argument("dst"), argument("y"), argument("count")
	zero := YMM()
	VXORPS(zero, zero, zero)
	loop := label("vector")
	Label(loop)
	const notGreaterEqual = 9 // Of zero and y: true if y > 0 or not a number.
	low, high, bits := YMM(), YMM(), GP32()
	VCMPPS(Imm(notGreaterEqual), Mem{Base: y}, zero, low)
	VCMPPS(Imm(notGreaterEqual), Mem{Base: y, Disp: 32}, zero, high)
	VORPS(high, low, low)
	VMOVMSKPS(low, bits)
	NEGL(bits)
	SBBL(bits, bits)
	MOVL(bits, Mem{Base: dst})
	ADDQ(Imm(64), y)
	ADDQ(Imm(4), dst)
	DECQ(count)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

func hide() {
	function("hideAVX2", "func(weights *float32, hidden *uint32, count int)")
	Doc("hideAVX2 writes zeros into count rows of 8 columns, where the column is hidden.")
	weights, mask := argument("weights"), YMM()
	hidden := argument("hidden")
	VMOVUPS(Mem{Base: hidden}, mask)
	avx2.vectors(func(at GPVirtual) {
		value := YMM()
		VANDNPS(indexed(weights, at), mask, value)
		VMOVUPS(value, indexed(weights, at))
	})
}

// gatherTiny emits the package's gather for a channel whose sums are subnormal, or may be: they are counted in quanta.
// See adamTiny.
func gatherTiny() {
	function("gatherTinyAVX2", "func(y, x, weights, bias *float32, count int, bound float32) bool")
	Doc(
		"gatherTinyAVX2 computes, for 16 lanes, y = max(bound, bias[0] + sum over i < count: weights[i*8] * x[i*16]).",
		"All weights and the bias are below 2^-30. It returns whether y is exact.",
	)
	x, weights, count := argument("x"), argument("weights"), argument("count")
	wrong := zeros()
	everywhere := negativeOne()
	start := toQuanta(broadcastFrom(Mem{Base: argument("bias")}), everywhere)
	sums := [2]VecVirtual{start, YMM()}
	VMOVAPS(start, sums[1])
	loop := label("tap")
	Label(loop)
	weight := toQuanta(broadcastFrom(Mem{Base: weights}), everywhere)
	for half := range sums {
		VMOVAPS(inQuanta(weight, load(Mem{Base: x, Disp: 32 * half}), sums[half], wrong), sums[half])
	}
	ADDQ(Imm(32), weights)
	ADDQ(Imm(64), x)
	DECQ(count)
	JNE(LabelRef(loop))
	y := argument("y")
	for half, sum := range sums {
		// If one is a NaN, or both are zeros, the result is the sum.
		VMAXPS(sum, broadcast("bound"), sum)
		VMOVUPS(fromQuanta(sum), Mem{Base: y, Disp: 32 * half})
	}
	exact := GP8()
	VPTEST(wrong, wrong)
	SETEQ(exact)
	Store(exact, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func broadcastFrom(from Mem) VecVirtual {
	register := YMM()
	VBROADCASTSS(from, register)
	return register
}
