package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernels of this file take little of a step's time. But for the sigmoid and the exponential, whose chains of
// operations are long, and addScaled, they exist in AVX2 alone, which the AVX-512 path uses too.

// constant broadcasts a float32 into a register.
func (w width) constant(value float32) VecVirtual {
	register := w.new()
	VBROADCASTSS(constantMem(math.Float32bits(value)), register)
	return register
}

// constantMem is a read-only word.
func constantMem(bits uint32) Mem {
	if mem, ok := constants[bits]; ok {
		return mem
	}
	mem := ConstData(label("word"), U32(bits))
	constants[bits] = mem
	return mem
}

var constants = map[uint32]Mem{}

// vectorMem is 8 times a read-only word.
func vectorMem(bits uint32) Mem {
	if mem, ok := vectorConstants[bits]; ok {
		return mem
	}
	mem := GLOBL(label("vector"), RODATA|NOPTR)
	for i := range avx2.floats() {
		DATA(4*i, U32(bits))
	}
	vectorConstants[bits] = mem
	return mem
}

var vectorConstants = map[uint32]Mem{}

// broadcast loads a float32 parameter into all lanes.
func broadcast(name string) VecVirtual { return avx2.broadcast(name) }

func (w width) broadcast(name string) VecVirtual {
	register := w.new()
	component, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(component.Addr, register)
	return register
}

// vectors emits a loop over count vectors; body gets the offset in bytes.
func (w width) vectors(body func(at GPVirtual)) {
	w.interleaved(1, func(at GPVirtual, _ int) { body(at) })
}

// interleaved emits the same, for several vectors at once as long as there are so many; then for half of them.
func (w width) interleaved(several int, body func(at GPVirtual, vectors int)) {
	end, at := argument("count"), GP64()
	IMUL3Q(Imm(uint64(w.bytes)), end, end)
	XORQ(at, at)
	for vectors := several; ; vectors /= 2 {
		loop, done := label("vector"), label("done")
		last := end
		if vectors > 1 {
			last = GP64()
			MOVQ(end, last)
			SUBQ(U32(uint32((vectors-1)*w.bytes)), last)
		}
		Label(loop)
		CMPQ(at, last)
		JGE(LabelRef(done))
		body(at, vectors)
		ADDQ(U32(uint32(vectors*w.bytes)), at)
		JMP(LabelRef(loop))
		Label(done)
		if vectors == 1 {
			break
		}
	}
	VZEROUPPER()
	RET()
}

func indexed(base, at GPVirtual) Mem { return Mem{Base: base, Index: at, Scale: 1} }

// together is how many exponentials are computed at once: as each is a chain of operations, the processor would not see
// far enough ahead to fill the time. AVX2 has registers for no more, but for sigmoids.
const together = 4

// sigmoid emits 1 / (1 + q * 2^k), where q * 2^k is the exponential, with the sum as one multiply-add. Its bounds are
// closer than the exponential's: below, the exponential is too small to change the sum; above, it is infinite. As it is
// not yet so where 2^k begins to be, 2^(k-1) is used with 2 q.
func sigmoid(w width) {
	name := "sigmoid" + w.name
	function(name, "func(y *float32, count int)")
	Doc(name + " computes y[i] = 1 / (1 + exp(-y[i])) for count vectors.")
	y := argument("y")
	// k is from -126, whose 2^(k-1) is taken for 0, to 129. It is k + 126, shifted to the exponent.
	e := exponential{w, -89.5, 87, expRound + 126}
	several := 2 * together
	if w.bytes < 64 {
		several = 6
	}
	w.interleaved(several, func(at GPVirtual, vectors int) {
		to := func(i int) Mem { return indexed(y, at).Offset(i * w.bytes) }
		power := make([]Op, vectors)
		_, _, p := e.reduced(to(0), vectors, true, func(i int, n VecVirtual) {
			shifted := w.new()
			VPSLLD(Imm(23), n, shifted)
			if power[i] = shifted; w.bytes < 64 {
				// Kept in memory, it leaves registers for more vectors.
				power[i] = to(i)
				VMOVUPS(shifted, power[i])
			}
		})
		w.with(2, p, func(two VecVirtual, i int) { VFMADD213PS(two, two, p[i]) })
		w.with(1, p, func(one VecVirtual, i int) { VFMADD132PS(power[i], one, p[i]) })
		w.with(1, p, func(one VecVirtual, i int) { VDIVPS(p[i], one, p[i]) })
		each(p, func(i int) { VMOVUPS(p[i], to(i)) })
	})
}

func exp(w width) {
	name := "exp" + w.name
	function(name, "func(y, x *float32, count int)")
	Doc(name + " computes y[i] = exp(x[i]) for count vectors.")
	y, from := argument("y"), argument("x")
	e := exponential{w, -104, 104, expRound}
	w.interleaved(together, func(at GPVirtual, vectors int) {
		n, whole, p := e.reduced(indexed(from, at), vectors, false, nil)
		w.with(1, p, func(one VecVirtual, i int) { VADDPS(one, p[i], p[i]) })
		if w.bytes == 64 {
			each(p, func(i int) { VSCALEFPS(whole[i], p[i], p[i]) })
		} else {
			// 2^k may lie outside the range of exponents; the two factors do not.
			half, bias := w.several(vectors), vectorMem(127)
			w.with(e.round, n, func(round VecVirtual, i int) { VPSUBD(round, n[i], n[i]) })
			each(p, func(i int) { VPSRAD(Imm(1), n[i], half[i]) })
			each(p, func(i int) { VPSUBD(half[i], n[i], n[i]) })
			for _, exponent := range [][]VecVirtual{half, n} {
				each(p, func(i int) { VPADDD(bias, exponent[i], exponent[i]) })
				each(p, func(i int) { VPSLLD(Imm(23), exponent[i], exponent[i]) })
				each(p, func(i int) { VMULPS(exponent[i], p[i], p[i]) })
			}
		}
		each(p, func(i int) { VMOVUPS(p[i], indexed(y, at).Offset(i*w.bytes)) })
	})
}

// each emits a step for all vectors that are computed at once.
func each(vectors []VecVirtual, step func(i int)) {
	for i := range vectors {
		step(i)
	}
}

// with emits a step that takes a constant, which it loads into a register: there are too few to keep all, and to load
// one for each vector takes longer.
func (w width) with(constant float32, vectors []VecVirtual, step func(c VecVirtual, i int)) {
	c := w.constant(constant)
	each(vectors, func(i int) { step(c, i) })
}

// exponential is what the exponentials of a kernel share: bounds for what it is given, and what it rounds with:
// expRound, or an integer more.
type exponential struct {
	width
	low, high, round float32
}

// expRound is 1.5 * 2^23, which rounds to an integer when added.
const expRound = 12582912

// coefficients of the exponential's polynomial, the highest power's first.
var coefficients = []float32{
	1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
}

// reduced emits the exponentials of vectors at from, or of their negatives, step by step for all, as (1 + p) * 2^whole.
// Unless it is nil, save gets n, which is whole plus what round has.
func (e *exponential) reduced(from Mem, vectors int, negative bool, save func(i int, n VecVirtual)) (
	n, whole, p []VecVirtual,
) {
	r := e.several(vectors)
	n, whole, p = e.several(vectors), e.several(vectors), e.several(vectors)
	// Signs change within the multiply-adds that x enters first.
	scale, reduce := VFMADD231PS, VFMADD231PS
	if negative {
		scale, reduce = VFNMADD231PS, VFMSUB231PS
	}
	// If one is a NaN, the result is what comes from memory.
	e.with(e.high, r, func(high VecVirtual, i int) { VMINPS(from.Offset(i*e.bytes), high, r[i]) })
	e.with(e.low, r, func(low VecVirtual, i int) { VMAXPS(r[i], low, r[i]) })
	e.with(e.round, n, func(round VecVirtual, i int) { VMOVAPS(round, n[i]) })
	e.with(1.44269504, n, func(log2e VecVirtual, i int) { scale(log2e, r[i], n[i]) })
	if save != nil {
		each(n, func(i int) { save(i, n[i]) })
	}
	e.with(e.round, n, func(round VecVirtual, i int) { VSUBPS(round, n[i], whole[i]) })
	e.with(-0.693359375, r, func(ln2Hi VecVirtual, i int) { reduce(ln2Hi, whole[i], r[i]) })
	e.with(2.12194440e-4, r, func(ln2Lo VecVirtual, i int) { VFMADD231PS(ln2Lo, whole[i], r[i]) })
	e.with(coefficients[0], p, func(c VecVirtual, i int) { VMOVAPS(c, p[i]) })
	for _, coefficient := range coefficients[1:] {
		e.with(coefficient, p, func(c VecVirtual, i int) { VFMADD213PS(c, r[i], p[i]) })
	}
	each(p, func(i int) { VMULPS(r[i], p[i], p[i]) })
	each(p, func(i int) { VFMADD213PS(r[i], r[i], p[i]) })
	return n, whole, p
}

func reluBackward() {
	function("reluBackwardAVX2", "func(dx, dy, y *float32, count int)")
	Doc("reluBackwardAVX2 computes dx[i] = dy[i] unless y[i] <= 0, else 0, for count vectors of 8.")
	dx, dy, y := argument("dx"), argument("dy"), argument("y")
	zero := YMM()
	VXORPS(zero, zero, zero)
	avx2.vectors(func(at GPVirtual) {
		gradient := YMM()
		VMOVUPS(indexed(dy, at), gradient)
		avx2.clearUnlessAbove(indexed(y, at), zero, gradient)
		VMOVUPS(gradient, indexed(dx, at))
	})
}

func sigmoidBackward() {
	function("sigmoidBackwardAVX2", "func(dx, dy, y *float32, count int)")
	Doc("sigmoidBackwardAVX2 computes dx[i] = dy[i] * (y[i] * (1-y[i])) for count vectors of 8.")
	dx, dy, y := argument("dx"), argument("dy"), argument("y")
	one := avx2.constant(1)
	avx2.vectors(func(at GPVirtual) {
		value, slope := YMM(), YMM()
		VMOVUPS(indexed(y, at), value)
		VSUBPS(value, one, slope)
		VMULPS(slope, value, slope)
		VMULPS(indexed(dy, at), slope, slope)
		VMOVUPS(slope, indexed(dx, at))
	})
}

func addScaled(w width) {
	name := "addScaled" + w.name
	function(name, "func(dst, x, y *float32, scale float32, count int)")
	Doc(name + " computes dst[i] = x[i] + scale * y[i], with the product rounded, for count vectors.")
	dst, x, y, scale := argument("dst"), argument("x"), argument("y"), w.broadcast("scale")
	w.interleaved(4, func(at GPVirtual, vectors int) {
		for i := range vectors {
			sum, offset := w.new(), i*w.bytes
			VMULPS(indexed(y, at).Offset(offset), scale, sum)
			VADDPS(indexed(x, at).Offset(offset), sum, sum)
			VMOVUPS(sum, indexed(dst, at).Offset(offset))
		}
	})
}

func normal() {
	function("normalAVX2", "func(dst *float32, state *uint32, table *float32, count int)")
	Doc("normalAVX2 does the package's Normal for count draws of each lane, that is, count times two vectors of 16.")
	dst, state, table, count := argument("dst"), argument("state"), argument("table"), argument("count")
	index, sign := YMM(), YMM()
	VBROADCASTSS(constantMem(1<<15-1), index)
	VBROADCASTSS(constantMem(1<<31), sign)
	var s [2][4]VecVirtual // By half of the lanes and word.
	for half := range s {
		for word := range s[half] {
			s[half][word] = YMM()
			VMOVDQU(Mem{Base: state, Disp: 64*word + 32*half}, s[half][word])
		}
	}
	rotate := func(x VecVirtual, by uint64) {
		upper := YMM()
		VPSRLD(Imm(32-by), x, upper)
		VPSLLD(Imm(by), x, x)
		VPOR(upper, x, x)
	}
	loop, done := label("draw"), label("done")
	Label(loop)
	TESTQ(count, count)
	JEQ(LabelRef(done))
	for half := range s {
		s0, s1, s2, s3 := s[half][0], s[half][1], s[half][2], s[half][3]
		draw, shifted := YMM(), YMM()
		VPADDD(s0, s3, draw)
		rotate(draw, 7)
		VPADDD(s0, draw, draw)
		VPSLLD(Imm(9), s1, shifted)
		VPXOR(s0, s2, s2)
		VPXOR(s1, s3, s3)
		VPXOR(s2, s1, s1)
		VPXOR(s3, s0, s0)
		VPXOR(shifted, s2, s2)
		rotate(s3, 11)
		for part := range 2 {
			at, value, every := YMM(), YMM(), YMM()
			if part == 0 {
				VPAND(index, draw, at)
			} else {
				VPSRLD(Imm(16), draw, at)
				VPAND(index, at, at)
			}
			VPCMPEQD(every, every, every)
			VXORPS(value, value, value)
			VGATHERDPS(every, Mem{Base: table, Index: at, Scale: 4}, value)
			bit := YMM()
			if part == 0 {
				VPSLLD(Imm(16), draw, bit)
				VPAND(sign, bit, bit)
			} else {
				VPAND(sign, draw, bit)
			}
			VPOR(bit, value, value)
			VMOVDQU(value, Mem{Base: dst, Disp: 64*part + 32*half})
		}
	}
	ADDQ(U32(128), dst)
	DECQ(count)
	JMP(LabelRef(loop))
	Label(done)
	for half := range s {
		for word := range s[half] {
			VMOVDQU(s[half][word], Mem{Base: state, Disp: 64*word + 32*half})
		}
	}
	VZEROUPPER()
	RET()
}
