package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const adamConstants = "weightDecay, moment, beta2, square, correction, epsilon, rate float32"

func adam() {
	function("adamAVX2", "func(w, dw, m, v *float32, "+adamConstants+", count int) int")
	Doc(
		"adamAVX2 does the package's Adam for up to count vectors of 8, and returns for how many: it ends before the",
		"first that has a tiny weight.",
	)
	w, dw, m, v := argument("w"), argument("dw"), argument("m"), argument("v")
	var (
		weightDecay = broadcast("weightDecay")
		moment      = broadcast("moment")
		beta2       = broadcast("beta2")
		square      = broadcast("square")
		correction  = broadcast("correction")
		epsilon     = broadcast("epsilon")
		rate        = broadcast("rate")
	)
	loop, done := label("vector"), label("done")
	end, at := argument("count"), GP64()
	SHLQ(Imm(5), end)
	XORQ(at, at)
	Label(loop)
	CMPQ(at, end)
	JEQ(LabelRef(done))
	weight, gradient, first, second, difference := YMM(), YMM(), YMM(), YMM(), YMM()
	VMOVUPS(indexed(w, at), weight)
	tiny, limit := YMM(), YMM()
	VPBROADCASTD(constantMem(tinyWeight<<1), limit)
	VPADDD(weight, weight, tiny) // Without the sign, times 2.
	VPMAXUD(limit, tiny, limit)
	VPCMPEQD(tiny, limit, tiny)
	bits := GP32()
	VMOVMSKPS(tiny, bits)
	CMPL(bits, Imm(0xff))
	JNE(LabelRef(done))
	VMOVUPS(indexed(dw, at), gradient)
	VFMADD231PS(weightDecay, weight, gradient)
	VMOVUPS(indexed(m, at), first)
	VSUBPS(first, gradient, difference)
	VFMADD231PS(moment, difference, first)
	VMOVUPS(first, indexed(m, at))
	VMULPS(indexed(v, at), beta2, second)
	VMULPS(square, gradient, difference)
	VFMADD231PS(difference, gradient, second)
	VMOVUPS(second, indexed(v, at))
	VSQRTPS(second, second)
	VDIVPS(correction, second, second)
	VADDPS(epsilon, second, second)
	VDIVPS(second, first, first)
	VFMADD231PS(rate, first, weight)
	VMOVUPS(weight, indexed(w, at))
	ADDQ(Imm(32), at)
	JMP(LabelRef(loop))
	Label(done)
	SHRQ(Imm(5), at)
	Store(at, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// Bits of numbers in Adam's steps with tiny weights: weights and moments below these two are scaled, if the mean of
// squares is between the others, or zero.
const (
	tinyWeight   = 47 << 23  // 2^-80
	tinyMoment   = 37 << 23  // 2^-90
	leastSquare  = 27 << 23  // 2^-100
	mostSquare   = 227 << 23 // 2^100
	scaleQuantum = 149 << 23 // 2^149 is 1 / quantum, the least number.
	// From 2^23 quanta on, numbers are normal. Below 2^22 a sum with wholeBits has whole numbers only.
	normalQuanta = (127 + 23) << 23
	smallQuanta  = (127 + 22) << 23
	wholeBits    = 0x4b400000 // 1.5 * 2^23
	// From here on, 2^-29 or not a number, a number in quanta may overflow where it would not otherwise.
	mostQuanta = (127 + 120) << 23
)

// adamTiny emits Adam for weights that have had no gradient for long. They and their moments are subnormal, or become
// so in the next operation, which costs 150 cycles each time. Here such numbers are counted in quanta of 2^-149. A
// result is then what the same operation gives, if it is at least 2^23 quanta, or else rounded to whole quanta at once.
func adamTiny() {
	function("adamTinyAVX2", "func(w, dw, m, v *float32, "+adamConstants+", count int)")
	Doc(
		"adamTinyAVX2 does the package's Adam for count vectors of 8, of which each should have a tiny weight. Weight",
		"decay is between 0 and 1, the rate's absolute value between 2^-60 and 2^10, and epsilon is at least 2^-30.",
	)
	w, dw, m, v := argument("w"), argument("dw"), argument("m"), argument("v")
	loop, vector := label("vector"), label("plain")
	end, at := argument("count"), GP64()
	SHLQ(Imm(5), end)
	XORQ(at, at)
	Label(loop)
	// Which lanes are scaled: those without a gradient and with tiny numbers.
	scaled, other := YMM(), YMM()
	VPSLLD(Imm(1), load(indexed(w, at)), other)
	VPCMPGTD(other, shiftedWord(tinyWeight), scaled)
	// A number with a sign, times 2, may look negative: all of those are large.
	VPCMPGTD(negativeOne(), other, other)
	VPAND(other, scaled, scaled)
	VPSLLD(Imm(1), load(indexed(m, at)), other)
	small := YMM()
	VPCMPGTD(other, shiftedWord(tinyMoment), small)
	VPAND(small, scaled, scaled)
	VPCMPGTD(negativeOne(), other, other)
	VPAND(other, scaled, scaled)
	VPSLLD(Imm(1), load(indexed(dw, at)), other)
	VPCMPEQD(zeros(), other, other)
	VPAND(other, scaled, scaled)
	squares, fits := load(indexed(v, at)), YMM()
	VPCMPGTD(word(leastSquare), squares, fits)
	VPCMPGTD(squares, word(mostSquare), other)
	VPAND(other, fits, fits)
	VPCMPEQD(zeros(), squares, other)
	VPOR(other, fits, fits)
	VPAND(fits, scaled, scaled)

	// All lanes, with zeros in those that are scaled. Their mean of squares does not notice their gradients.
	Label(vector)
	weight, gradient, first, second, difference := YMM(), YMM(), YMM(), YMM(), YMM()
	VANDNPS(indexed(w, at), scaled, weight)
	VANDNPS(indexed(dw, at), scaled, gradient)
	VANDNPS(indexed(m, at), scaled, first)
	VFMADD231PS(broadcast("weightDecay"), weight, gradient)
	VSUBPS(first, gradient, difference)
	VFMADD231PS(broadcast("moment"), difference, first)
	VMULPS(indexed(v, at), broadcast("beta2"), second)
	VMULPS(broadcast("square"), gradient, difference)
	VFMADD231PS(difference, gradient, second)
	divisor, quotient := YMM(), YMM()
	VSQRTPS(second, divisor)
	VDIVPS(broadcast("correction"), divisor, divisor)
	VADDPS(broadcast("epsilon"), divisor, divisor)
	VDIVPS(divisor, first, quotient)
	VFMADD231PS(broadcast("rate"), quotient, weight)

	// The scaled lanes, with zeros in the others.
	wrong := zeros()
	quanta := toQuanta(load(indexed(w, at)), scaled)
	none := YMM()
	VANDPS(indexed(dw, at), scaled, none)
	decay := inQuanta(broadcast("weightDecay"), quanta, none, wrong)
	mean := toQuanta(load(indexed(m, at)), scaled)
	VSUBPS(mean, decay, decay)
	mean = inQuanta(broadcast("moment"), decay, mean, wrong)
	VDIVPS(divisor, mean, quotient)
	whole, part := YMM(), YMM()
	VROUNDPS(Imm(0), quotient, whole)
	VSUBPS(whole, quotient, part)
	VANDPS(word(1<<31-1), part, part)
	VPCMPEQD(word(math.Float32bits(0.5)), part, part) // It has been rounded before, maybe to there.
	VPOR(part, wrong, wrong)
	quanta = inQuanta(broadcast("rate"), whole, quanta, wrong)
	// What is wrong is done again, without scaling.
	store := label("store")
	VPAND(scaled, wrong, wrong)
	VPTEST(wrong, wrong)
	JEQ(LabelRef(store))
	VPXOR(scaled, scaled, scaled)
	JMP(LabelRef(vector))

	Label(store)
	VBLENDVPS(scaled, fromQuanta(quanta), weight, weight)
	VMOVUPS(weight, indexed(w, at))
	VBLENDVPS(scaled, fromQuanta(mean), first, first)
	VMOVUPS(first, indexed(m, at))
	VMOVUPS(second, indexed(v, at))
	ADDQ(Imm(32), at)
	CMPQ(at, end)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

func load(from Mem) VecVirtual {
	register := YMM()
	VMOVUPS(from, register)
	return register
}

func zeros() VecVirtual {
	register := YMM()
	VPXOR(register, register, register)
	return register
}

func negativeOne() VecVirtual {
	register := YMM()
	VPCMPEQD(register, register, register)
	return register
}

// shiftedWord broadcasts a number's bits, times 2.
func shiftedWord(bits uint32) VecVirtual { return word(bits << 1) }

// toQuanta counts numbers in quanta, where mask says so, and gives zeros elsewhere.
func toQuanta(from, mask VecVirtual) VecVirtual {
	value, bits, normal, whole := YMM(), YMM(), YMM(), YMM()
	VANDPS(from, mask, value)
	VPAND(word(1<<31-1), value, bits)
	VPXOR(bits, value, value) // The sign.
	VPCMPGTD(word(1<<23-1), bits, normal)
	VCVTDQ2PS(bits, whole)
	VPADDD(word(scaleQuantum), bits, bits)
	VBLENDVPS(normal, bits, whole, bits)
	VPOR(value, bits, bits)
	return bits
}

// fromQuanta is the inverse of toQuanta.
func fromQuanta(quanta VecVirtual) VecVirtual {
	bits, normal, whole := YMM(), YMM(), YMM()
	VPAND(word(1<<31-1), quanta, bits)
	VPXOR(bits, quanta, quanta) // The sign.
	VPCMPGTD(word(normalQuanta-1), bits, normal)
	VCVTPS2DQ(bits, whole)
	VPSUBD(word(scaleQuantum), bits, bits)
	VBLENDVPS(normal, bits, whole, bits)
	VPOR(quanta, bits, bits)
	return bits
}

// inQuanta emits factor * x + y in quanta, rounded once as the same numbers are. It marks lanes where it can't.
func inQuanta(factor, x, y, wrong VecVirtual) VecVirtual {
	plain, whole, big := YMM(), YMM(), YMM()
	VMOVAPS(y, plain)
	VFMADD231PS(factor, x, plain)
	VPBROADCASTD(constantMem(wholeBits), big)
	VADDPS(big, y, whole)
	VFMADD231PS(factor, x, whole)
	VSUBPS(big, whole, whole)
	// The sign is that of the exact result, also of one that is rounded to zero.
	magnitude, size, of := YMM(), YMM(), YMM()
	VPBROADCASTD(constantMem(1<<31-1), magnitude)
	VPAND(magnitude, whole, whole)
	VPAND(magnitude, plain, size)
	VPAND(magnitude, y, of)
	VPANDN(plain, magnitude, magnitude)
	VPOR(magnitude, whole, whole)
	VPCMPGTD(word(normalQuanta-1), size, big)
	VBLENDVPS(big, plain, whole, plain)
	VPMAXUD(of, size, of)
	VPCMPGTD(word(smallQuanta-1), of, of)
	VPANDN(of, big, of)
	VPOR(of, wrong, wrong)
	VPCMPGTD(word(mostQuanta-1), size, size)
	VPOR(size, wrong, wrong)
	return plain
}
