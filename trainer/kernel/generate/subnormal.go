package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Kernels that keep subnormal numbers away from multiply-adds. They compute with a number's bits where it may be
// subnormal. They exist in AVX2 alone.

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

func smallRows() {
	function("smallRowsAVX2", "func(rows *uint32, values *float32, limit uint32, count int)")
	Doc(
		"smallRowsAVX2 sets bits of rows[i] if one of 8 columns of values' row i is not zero and |value|'s bits less 1",
		"are at most limit, for count rows.",
	)
	rows, values, count := argument("rows"), argument("values"), argument("count")
	magnitude, ones, limit := word(1<<31-1), word(1<<32-1), broadcast("limit")
	loop := label("row")
	Label(loop)
	value, least, bits := YMM(), YMM(), GP32()
	VPAND(Mem{Base: values}, magnitude, value)
	VPADDD(ones, value, value)
	VPMINUD(limit, value, least)
	VPCMPEQD(value, least, least)
	VMOVMSKPS(least, bits)
	ORL(bits, Mem{Base: rows})
	ADDQ(Imm(32), values)
	ADDQ(Imm(4), rows)
	DECQ(count)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

func zeroRows() {
	function("zeroRowsAVX2", "func(x *float32, rows *int32, count int) bool")
	Doc("zeroRowsAVX2 says whether all of x is zero in count rows of 16, given where they begin.")
	x, rows, count := argument("x"), argument("rows"), argument("count")
	all := zeros()
	loop := label("row")
	Label(loop)
	row := GP64()
	MOVLQSX(Mem{Base: rows}, row)
	VPOR(Mem{Base: x, Index: row, Scale: 4}, all, all)
	VPOR(Mem{Base: x, Index: row, Scale: 4, Disp: 32}, all, all)
	ADDQ(Imm(4), rows)
	DECQ(count)
	JNE(LabelRef(loop))
	zero := GP8()
	VPTEST(all, word(1<<31-1))
	SETEQ(zero)
	Store(zero, ReturnIndex(0))
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
		"normal numbers or zeros, and no |src[i]| is above 2^10.",
	)
	dst, src := argument("dst"), argument("src")
	magnitude, ones, limit, most := word(1<<31-1), word(1<<32-1), word(33<<23-2), word(137<<23)
	scale, wrong := avx2.constant(0x1p-32), zeros()
	end, at := argument("count"), GP64()
	SHLQ(Imm(5), end)
	XORQ(at, at)
	loop := label("vector")
	Label(loop)
	value, bits, large := YMM(), YMM(), YMM()
	VMOVUPS(indexed(src, at), value)
	VPAND(magnitude, value, bits)
	VPCMPGTD(most, bits, large)
	VPOR(large, wrong, wrong)
	VPADDD(ones, bits, bits)
	VPMINUD(limit, bits, large)
	VPCMPEQD(bits, large, large)
	VPOR(large, wrong, wrong)
	VMULPS(scale, value, value)
	VMOVUPS(value, indexed(dst, at))
	ADDQ(Imm(32), at)
	CMPQ(at, end)
	JNE(LabelRef(loop))
	exact := GP8()
	VPTEST(wrong, wrong)
	SETEQ(exact)
	Store(exact, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func positive() {
	function("positiveAVX2", "func(y *float32) bool")
	Doc("positiveAVX2 says whether one of 16 values is positive or not a number.")
	y, zero := argument("y"), zeros()
	const notGreaterEqual = 9 // Of zero and y: true if y > 0 or not a number.
	low, high, bits, some := YMM(), YMM(), GP32(), GP8()
	VCMPPS(Imm(notGreaterEqual), Mem{Base: y}, zero, low)
	VCMPPS(Imm(notGreaterEqual), Mem{Base: y, Disp: 32}, zero, high)
	VORPS(high, low, low)
	VMOVMSKPS(low, bits)
	TESTL(bits, bits)
	SETNE(some)
	Store(some, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func scaleColumns() {
	function("scaleColumnsAVX2", "func(weights, factors *float32, count int)")
	Doc("scaleColumnsAVX2 multiplies count rows of 8 columns by the columns' factors.")
	weights, factors := argument("weights"), argument("factors")
	factor := load(Mem{Base: factors})
	avx2.vectors(func(at GPVirtual) {
		value := YMM()
		VMULPS(indexed(weights, at), factor, value)
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

// gatherFaint emits the package's gather for a position that meets numbers of which products may be subnormal. Numbers
// are 2^32 times as large, so that all are normal. A sum that is subnormal otherwise is rounded to multiples of 2^-117,
// the least number's: 2^23 times that, with the sum's sign, is added before the rounding and subtracted after.
func gatherFaint() {
	function("gatherFaintAVX2",
		"func(y, x, weights *float32, taps *int32, tapCount, plane, channels int, relu *float32) bool")
	Doc(
		"gatherFaintAVX2 computes, for 16 lanes and each of up to 8 channels k,",
		"",
		"\ty[k*plane] = 2^-32 * (sum over taps: weights[tap.w + k] * x[tap.x])",
		"",
		"rounded as sums of 2^-32 * x are, or zero where relu, which is like y unless it is nil, is not above 0. plane",
		"is in bytes, offsets are in values. It returns whether y is exact.",
	)
	const leastNormal = (127 - 94) << 23 // 2^-94.
	y, x, weights, relu := argument("y"), argument("x"), argument("weights"), argument("relu")
	taps, end := argument("taps"), argument("tapCount")
	plane, channels := argument("plane"), argument("channels")
	LEAQ(Mem{Base: taps, Index: end, Scale: 8}, end)
	magnitude, wrong := word(1<<31-1), zeros()
	channel, loop, live, store := label("channel"), label("tap"), label("live"), label("store")
	const notGreaterEqual = 9 // Of zero and what is in memory.
	Label(channel)
	sums := [2]VecVirtual{zeros(), zeros()}
	TESTQ(relu, relu)
	JEQ(LabelRef(live))
	low, high := YMM(), YMM()
	VCMPPS(Imm(notGreaterEqual), Mem{Base: relu}, sums[0], low)
	VCMPPS(Imm(notGreaterEqual), Mem{Base: relu, Disp: 32}, sums[0], high)
	VPOR(high, low, low)
	VPTEST(low, low)
	JEQ(LabelRef(store))
	Label(live)
	// Signs say which sums are small, that is, are subnormal otherwise.
	small := [2]VecVirtual{negativeOne(), negativeOne()}
	tap := GP64()
	MOVQ(taps, tap)
	Label(loop)
	from, weight := GP64(), YMM()
	MOVLQSX(Mem{Base: tap, Disp: 4}, from)
	VBROADCASTSS(Mem{Base: weights, Index: from, Scale: 4}, weight)
	MOVLQSX(Mem{Base: tap}, from)
	LEAQ(Mem{Base: x, Index: from, Scale: 4}, from)
	for half := range sums {
		value := Mem{Base: from, Disp: 32 * half}
		plain, sign, big, whole, now := YMM(), YMM(), YMM(), YMM(), YMM()
		VMOVAPS(sums[half], plain)
		VFMADD231PS(value, weight, plain)
		VPANDN(plain, magnitude, sign)
		VPOR(vectorMem(leastNormal), sign, big)
		VADDPS(big, sums[half], whole)
		VFMADD231PS(value, weight, whole)
		VSUBPS(big, whole, whole)
		VPOR(sign, whole, whole) // Also that of a zero.
		VPAND(magnitude, plain, now)
		VPSUBD(vectorMem(leastNormal), now, now)
		VBLENDVPS(now, whole, plain, sums[half])
		// The addition before was not exact if a sum that was not small has become so.
		VPANDN(now, small[half], small[half])
		VPOR(small[half], wrong, wrong)
		VMOVAPS(now, small[half])
	}
	ADDQ(Imm(8), tap)
	CMPQ(tap, end)
	JNE(LabelRef(loop))

	for half := range sums {
		sign, size, whole := YMM(), YMM(), YMM()
		VPAND(magnitude, sums[half], size)
		VPXOR(size, sums[half], sign)
		// An infinity, and what is not a number, has remained so.
		VPCMPGTD(word(0xff<<23-1), size, whole)
		VPOR(whole, wrong, wrong)
		VMULPS(avx2.constant(0x1p117), size, whole)
		VCVTPS2DQ(whole, whole)
		VPSUBD(word(32<<23), size, size)
		VBLENDVPS(small[half], whole, size, size)
		VPOR(sign, size, sums[half])
	}
	TESTQ(relu, relu)
	JEQ(LabelRef(store))
	zero := zeros()
	for half := range sums {
		avx2.clearUnlessAbove(Mem{Base: relu, Disp: 32 * half}, zero, sums[half])
	}
	Label(store)
	for half := range sums {
		VMOVUPS(sums[half], Mem{Base: y, Disp: 32 * half})
	}
	TESTQ(relu, relu)
	next := label("next")
	JEQ(LabelRef(next))
	ADDQ(plane, relu)
	Label(next)
	ADDQ(plane, y)
	ADDQ(Imm(4), weights)
	DECQ(channels)
	JNE(LabelRef(channel))
	bits, exact := GP32(), GP8()
	VMOVMSKPS(wrong, bits)
	TESTL(bits, bits)
	SETEQ(exact)
	Store(exact, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
