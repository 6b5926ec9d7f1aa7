package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// transpose emits the transposition of a row of 8 x 8 blocks.
func transpose() {
	function("transposeAVX2", "func(dst, src *float32, blocks, dstRow, srcRow int)")
	Doc(
		"transposeAVX2 transposes blocks of 8 x 8: dst[i*dstRow + j] = src[j*srcRow + i] for j < 8 and i < 8*blocks.",
		"Rows are in bytes.",
	)
	dst, src, blocks := argument("dst"), argument("src"), argument("blocks")
	dstRow, srcRow := argument("dstRow"), argument("srcRow")
	to, from := newStrided(dstRow, 8), newStrided(srcRow, 8)
	loop := label("block")
	Label(loop)
	from.at(src, 8)
	to.at(dst, 8)
	rows := make([]VecVirtual, 8)
	for i := range rows {
		rows[i] = YMM()
		VMOVUPS(from.mem(i), rows[i])
	}
	transposed(rows, to.mem)
	ADDQ(Imm(32), src)
	LEAQ(Mem{Base: dst, Index: dstRow, Scale: 8}, dst)
	DECQ(blocks)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

// transposed emits the transposition of 8 rows of 8, which it overwrites.
func transposed(rows []VecVirtual, to func(row int) Mem) {
	pairs := make([]VecVirtual, 8)
	// 1 x 2 blocks, then 2 x 4, then 4 x 8.
	for i := 0; i < 8; i += 2 {
		pairs[i], pairs[i+1] = YMM(), YMM()
		VUNPCKLPS(rows[i+1], rows[i], pairs[i])
		VUNPCKHPS(rows[i+1], rows[i], pairs[i+1])
	}
	for i := 0; i < 8; i += 4 {
		for j := range 2 {
			VUNPCKLPD(pairs[i+2+j], pairs[i+j], rows[i+2*j])
			VUNPCKHPD(pairs[i+2+j], pairs[i+j], rows[i+2*j+1])
		}
	}
	for i := range 4 {
		VPERM2F128(Imm(0x20), rows[i+4], rows[i], pairs[0])
		VMOVUPS(pairs[0], to(i))
		VPERM2F128(Imm(0x31), rows[i+4], rows[i], pairs[1])
		VMOVUPS(pairs[1], to(i+4))
	}
}

// fillRows emits the transposition of 8 rows that lie anywhere, 8 values at a time.
func fillRows() {
	function("fillRowsAVX2", "func(dst *float32, rows **float32, blocks int)")
	Doc("fillRowsAVX2 computes dst[i*16 + lane] = rows[lane][i] for 8 lanes and 8*blocks values.")
	dst, from, blocks := argument("dst"), argument("rows"), argument("blocks")
	at := GP64()
	XORQ(at, at)
	loop := label("block")
	Label(loop)
	rows := make([]VecVirtual, 8)
	for i := range rows {
		pointer := GP64()
		MOVQ(Mem{Base: from, Disp: 8 * i}, pointer)
		rows[i] = YMM()
		VMOVUPS(indexed(pointer, at), rows[i])
	}
	transposed(rows, func(row int) Mem { return Mem{Base: dst, Disp: 64 * row} })
	ADDQ(Imm(32), at)
	ADDQ(U32(512), dst)
	DECQ(blocks)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

// fillTile emits the conversion of 8 images' bytes, 16 pixels at a time.
func fillTile() {
	function("fillTileAVX2", "func(dst *float32, images **byte, blocks int)")
	Doc(
		"fillTileAVX2 computes dst[pixel*16 + lane] = images[lane][pixel] / 255 for 8 lanes and 16*blocks pixels.",
	)
	dst, images, blocks := argument("dst"), argument("images"), argument("blocks")
	at := GP64()
	XORQ(at, at)
	scale, divisor := avx2.constant(float32(1.0/255)), avx2.constant(-255)
	loop := label("block")
	Label(loop)
	rows := make([]VecVirtual, 8)
	for i := range rows {
		pointer := GP64()
		MOVQ(Mem{Base: images, Disp: 8 * i}, pointer)
		rows[i] = XMM()
		VMOVDQU(indexed(pointer, at), rows[i])
	}
	// Interleaving rows i and i+4, i and i+2, i and i+1 brings the 8 bytes of a pixel together: rows[i] becomes pixels
	// 2i and 2i+1.
	rows = interleave(rows)
	rows = interleave(rows)
	rows = interleave(rows)
	for i, row := range rows {
		for half := range 2 {
			value, quotient := YMM(), YMM()
			if half == 1 {
				VPSRLDQ(Imm(8), row, row)
			}
			VPMOVZXBD(row, value)
			VCVTDQ2PS(value, value)
			// The product with 1/255, corrected by the remainder, is the rounded quotient.
			VMULPS(scale, value, quotient)
			VFMADD231PS(divisor, quotient, value)
			VFMADD231PS(scale, value, quotient)
			VMOVUPS(quotient, Mem{Base: dst, Disp: 64 * (2*i + half)})
		}
	}
	ADDQ(Imm(16), at)
	ADDQ(U32(1024), dst)
	DECQ(blocks)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

// interleave merges register i with register i+4, byte by byte, into registers 2i and 2i+1.
func interleave(rows []VecVirtual) []VecVirtual {
	merged := make([]VecVirtual, 8)
	for i := range 4 {
		merged[2*i], merged[2*i+1] = XMM(), XMM()
		VPUNPCKLBW(rows[i+4], rows[i], merged[2*i])
		VPUNPCKHBW(rows[i+4], rows[i], merged[2*i+1])
	}
	return merged
}
