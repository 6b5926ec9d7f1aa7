package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func squaredError(w width) {
	name := "squaredError" + w.name
	function(name, "func(sums *float64, y, target *float32, mask *uint32, count int)")
	Doc(name + " computes sums[lane] += ((y-target) & mask)^2 in float64 for count vectors of 16 lanes.")
	y, target := argument("y"), argument("target")
	masks := laneMasks()
	sums, to := w.several(128/w.bytes), argument("sums")
	for i := range sums {
		VMOVUPD(Mem{Base: to, Disp: w.bytes * i}, sums[i])
	}
	tiles(func(at GPVirtual) {
		for i := range masks {
			difference := difference(y, target, at, masks[i], i)
			if w.bytes == 64 {
				wide := w.new()
				VCVTPS2PD(difference, wide)
				VFMADD231PD(wide, wide, sums[i])
				continue
			}
			upper := XMM()
			VEXTRACTF128(Imm(1), difference, upper)
			for j, part := range []Op{difference.AsX(), upper} {
				wide := YMM()
				VCVTPS2PD(part, wide)
				VFMADD231PD(wide, wide, sums[2*i+j])
			}
		}
	})
	for i := range sums {
		VMOVUPD(sums[i], Mem{Base: to, Disp: w.bytes * i})
	}
	VZEROUPPER()
	RET()
}

func squaredErrorBackward() {
	function("squaredErrorBackwardAVX2", "func(dy, y, target *float32, mask *uint32, scale float32, count int)")
	Doc("squaredErrorBackwardAVX2 computes dy = scale * ((y-target) & mask) for count vectors of 16 lanes.")
	dy, y, target := argument("dy"), argument("y"), argument("target")
	scale, masks := broadcast("scale"), laneMasks()
	tiles(func(at GPVirtual) {
		for i := range masks {
			difference := difference(y, target, at, masks[i], i)
			VMULPS(scale, difference, difference)
			VMOVUPS(difference, indexed(dy, at).Offset(32*i))
		}
	})
	VZEROUPPER()
	RET()
}

func sigmoidSquaredErrorBackward() {
	function("sigmoidSquaredErrorBackwardAVX2",
		"func(dx, y, target *float32, mask *uint32, scale float32, count int)")
	Doc(
		"sigmoidSquaredErrorBackwardAVX2 computes dx = scale * ((y-target) & mask) * (y * (1-y)) for count vectors of",
		"16 lanes.",
	)
	dx, y, target := argument("dx"), argument("y"), argument("target")
	scale, one, masks := broadcast("scale"), avx2.constant(1), laneMasks()
	tiles(func(at GPVirtual) {
		for i := range masks {
			value, slope, gradient := YMM(), YMM(), YMM()
			VMOVUPS(indexed(y, at).Offset(32*i), value)
			VSUBPS(indexed(target, at).Offset(32*i), value, gradient)
			VANDPS(masks[i], gradient, gradient)
			VMULPS(scale, gradient, gradient)
			VSUBPS(value, one, slope)
			VMULPS(slope, value, slope)
			VMULPS(gradient, slope, slope)
			VMOVUPS(slope, indexed(dx, at).Offset(32*i))
		}
	})
	VZEROUPPER()
	RET()
}

// sigmoidSquaredErrorBackwardWide emits the same in vectors of 16. Products that are subnormal, as where an output that
// should be 0 nearly is, would take over a hundred cycles each. They are computed 2^32 times as large, and rounded to
// multiples of 2^-117, the least number's: 2^-94, with the product's sign, is added before the rounding and subtracted
// after.
func sigmoidSquaredErrorBackwardWide() {
	function("sigmoidSquaredErrorBackwardAVX512",
		"func(dx, y, target *float32, mask *uint32, scale float32, count int)")
	Doc(
		"sigmoidSquaredErrorBackwardAVX512 computes dx = scale * ((y-target) & mask) * (y * (1-y)) for count vectors",
		"of 16 lanes.",
	)
	w := avx512
	dx, y, target, from := argument("dx"), argument("y"), argument("target"), argument("mask")
	mask, scale, one := w.new(), w.broadcast("scale"), w.constant(1)
	VMOVUPS(Mem{Base: from}, mask)
	// If the bits of two numbers add up to less than 127.75 * 2^23, their product is below 2^-126: bits are 2^23 times
	// 127 plus the number's logarithm, or up to 0.09 less than that.
	magnitude, limit := w.new(), w.new()
	VPBROADCASTD(constantMem(1<<31-1), magnitude)
	VPBROADCASTD(constantMem(511<<21), limit)
	up, leastNormal, whole := w.constant(1<<32), w.constant(0x1p-94), w.constant(0x1p117)
	tiles(func(at GPVirtual) {
		value, slope, gradient, size, sum := w.new(), w.new(), w.new(), w.new(), w.new()
		VMOVUPS(indexed(y, at), value)
		VSUBPS(indexed(target, at), value, gradient)
		VPANDD(mask, gradient, gradient)
		VMULPS(scale, gradient, gradient)
		VSUBPS(value, one, slope)
		VMULPS(slope, value, slope)
		small, usual, store := K(), K(), label("store")
		VPANDD(magnitude, gradient, size)
		VPANDD(magnitude, slope, sum)
		VPADDD(size, sum, sum)
		VPCMPUD(Imm(1), limit, sum, small) // Less.
		KNOTW(small, usual)
		product := w.new()
		VMULPS_Z(slope, gradient, usual, product)
		KORTESTW(small, small)
		JEQ(LabelRef(store))
		sign, big := w.new(), w.new()
		VPXORD(slope, gradient, sign)
		VPANDND(sign, magnitude, sign)
		VPORD(leastNormal, sign, big)
		VMULPS(up, gradient, gradient)
		VMOVAPS(big, sum)
		VFMADD231PS(slope, gradient, sum)
		VSUBPS(big, sum, sum)
		VPANDD(magnitude, sum, sum)
		VMULPS(whole, sum, sum)
		VCVTPS2DQ(sum, sum)
		VPORD(sign, sum, small, product)
		Label(store)
		VMOVUPS(product, indexed(dx, at))
	})
	VZEROUPPER()
	RET()
}

// laneMasks loads the parameter mask, of 16 lanes.
func laneMasks() []VecVirtual {
	masks, from := []VecVirtual{YMM(), YMM()}, argument("mask")
	for i := range masks {
		VMOVUPS(Mem{Base: from, Disp: 32 * i}, masks[i])
	}
	return masks
}

// difference emits (y-target) & mask for one half of the lanes.
func difference(y, target, at GPVirtual, mask VecVirtual, half int) VecVirtual {
	difference := YMM()
	VMOVUPS(indexed(y, at).Offset(32*half), difference)
	VSUBPS(indexed(target, at).Offset(32*half), difference, difference)
	VANDPS(mask, difference, difference)
	return difference
}

// tiles emits a loop over count vectors of 16 lanes, of which there is at least one; body gets the offset in bytes.
func tiles(body func(at GPVirtual)) {
	end, at := argument("count"), GP64()
	SHLQ(Imm(6), end)
	XORQ(at, at)
	loop := label("tile")
	Label(loop)
	body(at)
	ADDQ(Imm(64), at)
	CMPQ(at, end)
	JNE(LabelRef(loop))
}
