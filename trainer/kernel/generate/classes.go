package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Kernels of classifiers, for tiles (class, lane). They exist in AVX2 alone.

// doubleMem is a read-only float64.
func doubleMem(value float64) Mem {
	bits := math.Float64bits(value)
	if mem, ok := doubles[bits]; ok {
		return mem
	}
	mem := ConstData(label("double"), U64(bits))
	doubles[bits] = mem
	return mem
}

var doubles = map[uint64]Mem{}

// double broadcasts a float64 into a register.
func double(value float64) VecVirtual {
	register := YMM()
	VBROADCASTSD(doubleMem(value), register)
	return register
}

// Predicates of comparisons, of which none holds for what is not a number.
const (
	equal        = 0
	less         = 17
	greaterEqual = 29
	greater      = 30
)

// rows emits a loop over the vectors of 16 lanes from at on, until end.
func rows(at, end GPVirtual, body func()) {
	loop, done := label("row"), label("done")
	Label(loop)
	CMPQ(at, end)
	JEQ(LabelRef(done))
	body()
	ADDQ(Imm(64), at)
	JMP(LabelRef(loop))
	Label(done)
}

// size loads an argument that counts vectors of 16 lanes, in bytes.
func size(name string) GPVirtual {
	bytes := argument(name)
	SHLQ(Imm(6), bytes)
	return bytes
}

func at(base, offset GPVirtual, half int) Mem {
	return Mem{Base: base, Index: offset, Scale: 1, Disp: 32 * half}
}

func subtractLargest() {
	function("subtractLargestAVX2", "func(y, x *float32, count int)")
	Doc("subtractLargestAVX2 computes y[i] = x[i] - largest, the largest of each lane's x, for count vectors of 16.")
	y, x, end, row := argument("y"), argument("x"), size("count"), GP64()
	var largest [2]VecVirtual
	for half := range largest {
		largest[half] = YMM()
		VMOVUPS(Mem{Base: x, Disp: 32 * half}, largest[half])
	}
	MOVQ(U32(64), row)
	rows(row, end, func() {
		for half := range largest {
			value := YMM()
			VMOVUPS(at(x, row, half), value)
			VMAXPS(largest[half], value, largest[half]) // The largest so far if one is not a number.
		}
	})
	XORQ(row, row)
	rows(row, end, func() {
		for half := range largest {
			value := YMM()
			VMOVUPS(at(x, row, half), value)
			VSUBPS(largest[half], value, value)
			VMOVUPS(value, at(y, row, half))
		}
	})
	VZEROUPPER()
	RET()
}

// subtractLogarithm emits the rest of a logarithm of softmax. The logarithms are the package's Log, of numbers from 1
// on.
func subtractLogarithm() {
	function("subtractLogarithmAVX2", "func(y, exponentials *float32, count int) bool")
	Doc(
		"subtractLogarithmAVX2 computes y[i] -= log(sum of its lane's exponentials) for count vectors of 16.",
		"It does nothing and returns false if a sum is less than 1, infinite or not a number.",
	)
	y, exponentials, end, row := argument("y"), argument("exponentials"), size("count"), GP64()
	sums := make([]VecVirtual, 4)
	for i := range sums {
		sums[i] = YMM()
		VXORPD(sums[i], sums[i], sums[i])
	}
	XORQ(row, row)
	rows(row, end, func() {
		for i := range sums {
			wide := YMM()
			VCVTPS2PD(Mem{Base: exponentials, Index: row, Scale: 1, Disp: 16 * i}, wide)
			VADDPD(wide, sums[i], sums[i])
		}
	})
	one, fine, bits := double(1), YMM(), GP32()
	largest := double(math.MaxFloat64)
	VPCMPEQD(fine, fine, fine)
	for _, sum := range sums {
		ok := YMM()
		VCMPPD(Imm(greaterEqual), one, sum, ok)
		VANDPD(ok, fine, fine)
		VCMPPD(Imm(18), largest, sum, ok) // Less or equal.
		VANDPD(ok, fine, fine)
	}
	VMOVMSKPD(fine, bits)
	wrong := label("wrong")
	CMPL(bits, Imm(15))
	JNE(LabelRef(wrong))

	mantissa, half, root := double(math.Float64frombits(1<<52-1)), double(0.5), double(math.Sqrt2/2)
	magic := double(1 << 52)
	for _, x := range sums {
		// x = fraction * 2^exponent, with the fraction between sqrt(1/2) and sqrt(2).
		exponent, fraction, small, correction := YMM(), YMM(), YMM(), YMM()
		VPSRLQ(Imm(52), x, exponent)
		VPOR(magic, exponent, exponent)
		VANDPD(mantissa, x, fraction)
		VORPD(half, fraction, fraction)
		VBROADCASTSD(doubleMem(1<<52+1022), correction)
		VSUBPD(correction, exponent, exponent)
		VCMPPD(Imm(less), root, fraction, small)
		VANDPD(one, small, correction)
		VSUBPD(correction, exponent, exponent)
		VANDPD(fraction, small, correction)
		VADDPD(correction, fraction, fraction)
		// log(fraction) = 2 atanh(s).
		s, square, sum := YMM(), YMM(), YMM()
		VADDPD(one, fraction, square)
		VSUBPD(one, fraction, s)
		VDIVPD(square, s, s)
		VMULPD(s, s, square)
		for k := 11; k >= 0; k-- {
			odd := YMM()
			VBROADCASTSD(doubleMem(1/float64(2*k+3)), odd)
			if k < 11 {
				VADDPD(odd, sum, sum)
			} else {
				sum = odd
			}
			VMULPD(square, sum, sum)
		}
		VADDPD(s, s, s)
		VMULPD(s, sum, sum)
		VADDPD(s, sum, sum)
		ln2 := YMM()
		VBROADCASTSD(doubleMem(math.Ln2), ln2)
		VMULPD(ln2, exponent, exponent)
		VADDPD(sum, exponent, x)
	}
	XORQ(row, row)
	rows(row, end, func() {
		for i := range sums {
			wide, to := YMM(), Mem{Base: y, Index: row, Scale: 1, Disp: 16 * i}
			VCVTPS2PD(to, wide)
			VSUBPD(sums[i], wide, wide)
			VCVTPD2PSY(wide, wide.AsX())
			VMOVUPS(wide.AsX(), to)
		}
	})
	ok := GP8()
	MOVB(U8(1), ok)
	Store(ok, ReturnIndex(0))
	VZEROUPPER()
	RET()
	Label(wrong)
	ok = GP8()
	MOVB(U8(0), ok)
	Store(ok, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func logSoftmaxBackward() {
	function("logSoftmaxBackwardAVX2", "func(dx, dy *float32, count int)")
	Doc(
		"logSoftmaxBackwardAVX2 computes dx[i] = dy[i] - dx[i] * sum, the sum of the lane's dy, with the product",
		"rounded, or 0 where the sum is 0, for count vectors of 16.",
	)
	dx, dy, end, row := argument("dx"), argument("dy"), size("count"), GP64()
	var sums, zero [2]VecVirtual
	for half := range sums {
		sums[half], zero[half] = YMM(), YMM()
		VXORPS(sums[half], sums[half], sums[half])
	}
	XORQ(row, row)
	rows(row, end, func() {
		for half := range sums {
			VADDPS(at(dy, row, half), sums[half], sums[half])
		}
	})
	for half := range sums {
		VXORPS(zero[half], zero[half], zero[half])
		VCMPPS(Imm(equal), sums[half], zero[half], zero[half])
	}
	XORQ(row, row)
	rows(row, end, func() {
		for half := range sums {
			product, value := YMM(), YMM()
			VMULPS(at(dx, row, half), sums[half], product)
			VMOVUPS(at(dy, row, half), value)
			VSUBPS(product, value, value)
			VANDNPS(value, zero[half], value)
			VMOVUPS(value, at(dx, row, half))
		}
	})
	VZEROUPPER()
	RET()
}

func mostProbable() {
	function("mostProbableAVX2", "func(classes, x *float32, count int)")
	Doc("mostProbableAVX2 computes classes[lane] = the first class of the largest x, for count classes.")
	classes, x, end, row := argument("classes"), argument("x"), size("count"), GP64()
	var best, which [2]VecVirtual
	for half := range best {
		best[half], which[half] = YMM(), YMM()
		VMOVUPS(Mem{Base: x, Disp: 32 * half}, best[half])
		VXORPS(which[half], which[half], which[half])
	}
	one, class := avx2.constant(1), YMM()
	VMOVAPS(one, class)
	MOVQ(U32(64), row)
	rows(row, end, func() {
		for half := range best {
			value, larger := YMM(), YMM()
			VMOVUPS(at(x, row, half), value)
			VCMPPS(Imm(greater), best[half], value, larger)
			VBLENDVPS(larger, value, best[half], best[half])
			VBLENDVPS(larger, class, which[half], which[half])
		}
		VADDPS(one, class, class)
	})
	for half := range best {
		VMOVUPS(which[half], Mem{Base: classes, Disp: 32 * half})
	}
	VZEROUPPER()
	RET()
}
