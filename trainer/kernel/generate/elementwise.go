package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernels of this file take little of a step's time. But for the sigmoid and the exponential, whose chains of
// operations are long, they exist in AVX2 alone, which the AVX-512 path uses too.

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
func broadcast(name string) VecVirtual {
	register := YMM()
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

// interleaved emits the same, for several vectors at once as long as there are so many; then one at a time.
func (w width) interleaved(several int, body func(at GPVirtual, vectors int)) {
	end, at := argument("count"), GP64()
	IMUL3Q(Imm(uint64(w.bytes)), end, end)
	XORQ(at, at)
	for vectors := several; ; vectors = 1 {
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
// far enough ahead to fill the time. There are registers for no more.
func (w width) together() int {
	if w.bytes == 64 {
		return 4
	}
	return 3
}

func sigmoid(w width) {
	name := "sigmoid" + w.name
	function(name, "func(y *float32, count int)")
	Doc(name + " computes y[i] = 1 / (1 + exp(-y[i])) for count vectors.")
	y := argument("y")
	exponential := newExponential(w)
	w.interleaved(w.together(), func(at GPVirtual, vectors int) {
		p := exponential.of(indexed(y, at), vectors, true)
		for i := range p {
			VADDPS(exponential.one, p[i], p[i])
		}
		for i := range p {
			VDIVPS(p[i], exponential.one, p[i])
		}
		for i := range p {
			VMOVUPS(p[i], indexed(y, at).Offset(i*w.bytes))
		}
	})
}

func exp(w width) {
	name := "exp" + w.name
	function(name, "func(y, x *float32, count int)")
	Doc(name + " computes y[i] = exp(x[i]) for count vectors.")
	y, from := argument("y"), argument("x")
	exponential := newExponential(w)
	w.interleaved(w.together(), func(at GPVirtual, vectors int) {
		for i, p := range exponential.of(indexed(from, at), vectors, false) {
			VMOVUPS(p, indexed(y, at).Offset(i*w.bytes))
		}
	})
}

// exponential is what the exponentials of a kernel share.
type exponential struct {
	width
	high, low, one                   VecVirtual
	log2e, round, ln2Hi, ln2Lo, bias Op
	coefficients                     []Op
}

// coefficients of the exponential's polynomial, the highest power's first.
var coefficients = []float32{
	1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
}

func newExponential(w width) exponential {
	constant := func(value float32) Op { return w.constant(value) }
	if w.bytes < 64 {
		// There are too few registers.
		constant = func(value float32) Op { return vectorMem(math.Float32bits(value)) }
	}
	e := exponential{
		width: w,
		high:  w.constant(104),
		low:   w.constant(-104),
		one:   w.constant(1),
		log2e: constant(1.44269504),
		round: constant(12582912),
		ln2Hi: constant(-0.693359375),
		ln2Lo: constant(2.12194440e-4),
	}
	if w.bytes < 64 {
		e.bias = vectorMem(127)
	}
	for _, value := range coefficients {
		e.coefficients = append(e.coefficients, constant(value))
	}
	return e
}

// of emits the exponentials of vectors at from, or of their negatives, step by step for all.
func (e *exponential) of(from Mem, vectors int, negative bool) []VecVirtual {
	x, n, whole, p := e.several(vectors), e.several(vectors), e.several(vectors), e.several(vectors)
	each := func(step func(i int)) {
		for i := range vectors {
			step(i)
		}
	}
	// Signs change within the multiply-adds that x enters first.
	scale, reduce := VFMADD231PS, VFMADD231PS
	if negative {
		scale, reduce = VFNMADD231PS, VFMSUB231PS
	}
	// If one is a NaN, the result is x.
	each(func(i int) { VMINPS(from.Offset(i*e.bytes), e.high, x[i]) })
	each(func(i int) { VMAXPS(x[i], e.low, x[i]) })
	each(func(i int) { VMOVAPS(e.round, n[i]) })
	each(func(i int) { scale(e.log2e, x[i], n[i]) })
	each(func(i int) { VSUBPS(e.round, n[i], whole[i]) })
	each(func(i int) { reduce(e.ln2Hi, whole[i], x[i]) })
	each(func(i int) { VFMADD231PS(e.ln2Lo, whole[i], x[i]) })
	each(func(i int) { VMOVAPS(e.coefficients[0], p[i]) })
	for _, coefficient := range e.coefficients[1:] {
		each(func(i int) { VFMADD213PS(coefficient, x[i], p[i]) })
	}
	each(func(i int) { VMULPS(x[i], p[i], p[i]) })
	each(func(i int) { VFMADD213PS(x[i], x[i], p[i]) })
	each(func(i int) { VADDPS(e.one, p[i], p[i]) })
	if e.bytes == 64 {
		each(func(i int) { VSCALEFPS(whole[i], p[i], p[i]) })
		return p
	}
	half := x // Whose value is not needed any more.
	each(func(i int) { VPSUBD(e.round, n[i], n[i]) })
	each(func(i int) { VPSRAD(Imm(1), n[i], half[i]) })
	each(func(i int) { VPSUBD(half[i], n[i], n[i]) })
	for _, exponent := range [][]VecVirtual{half, n} {
		each(func(i int) { VPADDD(e.bias, exponent[i], exponent[i]) })
		each(func(i int) { VPSLLD(Imm(23), exponent[i], exponent[i]) })
		each(func(i int) { VMULPS(exponent[i], p[i], p[i]) })
	}
	return p
}

func reluBackward() {
	function("reluBackwardAVX2", "func(dx, dy, y *float32, count int)")
	Doc("reluBackwardAVX2 computes dx[i] = dy[i] unless y[i] <= 0, else 0, for count vectors of 8.")
	dx, dy, y := argument("dx"), argument("dy"), argument("y")
	zero := YMM()
	VXORPS(zero, zero, zero)
	avx2.vectors(func(at GPVirtual) {
		keep := YMM()
		const notGreaterEqual = 9 // Of zero and y: true if y > 0 or not a number.
		VCMPPS(Imm(notGreaterEqual), indexed(y, at), zero, keep)
		VANDPS(indexed(dy, at), keep, keep)
		VMOVUPS(keep, indexed(dx, at))
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

func addScaled() {
	function("addScaledAVX2", "func(dst, x, y *float32, scale float32, count int)")
	Doc("addScaledAVX2 computes dst[i] = x[i] + scale * y[i], with the product rounded, for count vectors of 8.")
	dst, x, y := argument("dst"), argument("x"), argument("y")
	scale := broadcast("scale")
	avx2.vectors(func(at GPVirtual) {
		sum := YMM()
		VMULPS(indexed(y, at), scale, sum)
		VADDPS(indexed(x, at), sum, sum)
		VMOVUPS(sum, indexed(dst, at))
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

func squaredError() {
	function("squaredErrorAVX2", "func(sums *float64, dy, y, target *float32, mask *uint32, scale float32, count int)")
	Doc(
		"squaredErrorAVX2 computes, for count vectors of 16 lanes, d = (y-target) & mask, "+
			"dy = scale * d and, in float64,",
		"sums[lane] += d * d.",
	)
	dy, y, target, mask := argument("dy"), argument("y"), argument("target"), argument("mask")
	scale := broadcast("scale")
	sums, masks := make([]VecVirtual, 4), make([]VecVirtual, 2)
	to := argument("sums")
	for i := range sums {
		sums[i] = YMM()
		VMOVUPD(Mem{Base: to, Disp: 32 * i}, sums[i])
	}
	for i := range masks {
		masks[i] = YMM()
		VMOVUPS(Mem{Base: mask, Disp: 32 * i}, masks[i])
	}
	count := argument("count")
	loop, done := label("vector"), label("done")
	Label(loop)
	TESTQ(count, count)
	JEQ(LabelRef(done))
	for i := range masks {
		difference, upper, scaled := YMM(), XMM(), YMM()
		VMOVUPS(Mem{Base: y, Disp: 32 * i}, difference)
		VSUBPS(Mem{Base: target, Disp: 32 * i}, difference, difference)
		VANDPS(masks[i], difference, difference)
		VMULPS(scale, difference, scaled)
		VMOVUPS(scaled, Mem{Base: dy, Disp: 32 * i})
		VEXTRACTF128(Imm(1), difference, upper)
		for j, part := range []Op{difference.AsX(), upper} {
			wide := YMM()
			VCVTPS2PD(part, wide)
			VFMADD231PD(wide, wide, sums[2*i+j])
		}
	}
	for _, pointer := range []GPVirtual{dy, y, target} {
		ADDQ(Imm(64), pointer)
	}
	DECQ(count)
	JMP(LabelRef(loop))
	Label(done)
	for i := range sums {
		VMOVUPD(sums[i], Mem{Base: to, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}
