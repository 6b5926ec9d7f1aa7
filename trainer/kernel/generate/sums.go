package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Sums over positions and over lanes, which gradients of weights and losses end with. They exist in AVX2
// alone.

func sumPositions() {
	function("sumPositionsAVX2", "func(sums, tile *float32, channels, positions int)")
	Doc(
		"sumPositionsAVX2 adds each channel's vectors to sums[channel], in the portable form's four interleaved sums.",
	)
	sums, tile, channels := argument("sums"), argument("tile"), argument("channels")
	channel := label("channel")
	Label(channel)
	parts := make([][2]VecVirtual, 4)
	for i := range parts {
		parts[i] = [2]VecVirtual{YMM(), YMM()}
		for _, part := range parts[i] {
			VXORPS(part, part, part)
		}
	}
	positions := argument("positions")
	four, rest, done := label("four"), label("rest"), label("done")
	Label(four)
	CMPQ(positions, Imm(4))
	JLT(LabelRef(rest))
	for i := range parts {
		for half := range 2 {
			VADDPS(Mem{Base: tile, Disp: 64*i + 32*half}, parts[i][half], parts[i][half])
		}
	}
	ADDQ(U32(256), tile)
	SUBQ(Imm(4), positions)
	JMP(LabelRef(four))
	Label(rest)
	for i := range 3 {
		TESTQ(positions, positions)
		JEQ(LabelRef(done))
		for half := range 2 {
			VADDPS(Mem{Base: tile, Disp: 32 * half}, parts[i][half], parts[i][half])
		}
		ADDQ(Imm(64), tile)
		DECQ(positions)
	}
	Label(done)
	for half := range 2 {
		VADDPS(parts[1][half], parts[0][half], parts[0][half])
		VADDPS(parts[3][half], parts[2][half], parts[2][half])
		VADDPS(parts[2][half], parts[0][half], parts[0][half])
		VADDPS(Mem{Base: sums, Disp: 32 * half}, parts[0][half], parts[0][half])
		VMOVUPS(parts[0][half], Mem{Base: sums, Disp: 32 * half})
	}
	ADDQ(Imm(64), sums)
	DECQ(channels)
	JNE(LabelRef(channel))
	VZEROUPPER()
	RET()
}

func sumLanes() {
	function("sumLanesAVX2", "func(dst, src *float32, count int)")
	Doc("sumLanesAVX2 computes dst[i] = the sum of src[i][lane], in the portable form's tree, for count vectors of 16.")
	dst, src, count := argument("dst"), argument("src"), argument("count")
	loop := label("vector")
	Label(loop)
	eight, four, other := YMM(), XMM(), XMM()
	VMOVUPS(Mem{Base: src}, eight)
	VADDPS(Mem{Base: src, Disp: 32}, eight, eight)
	VEXTRACTF128(Imm(1), eight, four)
	VADDPS(four, eight.AsX(), four)
	VMOVHLPS(four, four, other)
	VADDPS(other, four, four)
	VMOVSHDUP(four, other)
	VADDSS(other, four, four)
	VMOVSS(four, Mem{Base: dst})
	ADDQ(Imm(64), src)
	ADDQ(Imm(4), dst)
	DECQ(count)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}
