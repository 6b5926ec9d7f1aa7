package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// transpose emits the transposition of groups of rows of 8 x 8 blocks.
func transpose() {
	function("transposeAVX2", "func(dst, src *float32, blocks, groups, dstRow, srcRow int)")
	Doc(
		"transposeAVX2 transposes groups of blocks of 8 x 8: dst[i*dstRow + j] = src[j*srcRow + i] for j < 8*groups",
		"and i < 8*blocks. Rows are in bytes.",
	)
	groupDst, groupSrc := argument("dst"), argument("src")
	dstRow, srcRow := argument("dstRow"), argument("srcRow")
	to, from := newStrided(dstRow, 8), newStrided(srcRow, 8)
	group := label("group")
	Label(group)
	blocks, dst, src := argument("blocks"), GP64(), GP64()
	MOVQ(groupDst, dst)
	MOVQ(groupSrc, src)
	loop := label("block")
	Label(loop)
	from.at(src, 8)
	to.at(dst, 8)
	transposed(func(row, half int) Mem {
		at := from.mem(row)
		at.Disp = 16 * half
		return at
	}, to.mem)
	ADDQ(Imm(32), src)
	LEAQ(Mem{Base: dst, Index: dstRow, Scale: 8}, dst)
	DECQ(blocks)
	JNE(LabelRef(loop))
	ADDQ(Imm(32), groupDst)
	LEAQ(Mem{Base: groupSrc, Index: srcRow, Scale: 8}, groupSrc)
	groups := argument("groups")
	DECQ(groups)
	Store(groups, Param("groups"))
	JNE(LabelRef(group))
	VZEROUPPER()
	RET()
}

// copyBlocks emits a copy of 8 columns.
func copyBlocks() {
	function("copyBlocksAVX2", "func(dst, src *float32, rows, srcRow int)")
	Doc("copyBlocksAVX2 copies 8 columns of rows: dst[row*8 + i] = src[row*srcRow + i]. srcRow is in bytes.")
	dst, src, rows, srcRow := argument("dst"), argument("src"), argument("rows"), argument("srcRow")
	loop := label("row")
	Label(loop)
	values := YMM()
	VMOVUPS(Mem{Base: src}, values)
	VMOVUPS(values, Mem{Base: dst})
	ADDQ(srcRow, src)
	ADDQ(Imm(32), dst)
	DECQ(rows)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}

// transposed emits the transposition of 8 rows of 8, given where values 4*half and on of a row are.
func transposed(from func(row, half int) Mem, to func(row int) Mem) {
	for half := range 2 {
		rows, pairs := make([]VecVirtual, 4), make([]VecVirtual, 4)
		for i := range rows {
			// Rows i and i+4 side by side.
			rows[i] = YMM()
			VMOVUPS(from(i, half), rows[i].AsX())
			VINSERTF128(Imm(1), from(i+4, half), rows[i], rows[i])
		}
		// 1 x 2 blocks, then 2 x 4.
		for i := 0; i < 4; i += 2 {
			pairs[i], pairs[i+1] = YMM(), YMM()
			VUNPCKLPS(rows[i+1], rows[i], pairs[i])
			VUNPCKHPS(rows[i+1], rows[i], pairs[i+1])
		}
		for i := range 2 {
			VUNPCKLPD(pairs[2+i], pairs[i], rows[2*i])
			VUNPCKHPD(pairs[2+i], pairs[i], rows[2*i+1])
		}
		for i, row := range rows {
			VMOVUPS(row, to(4*half+i))
		}
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
	transposed(func(row, half int) Mem {
		pointer := GP64()
		MOVQ(Mem{Base: from, Disp: 8 * row}, pointer)
		return Mem{Base: pointer, Index: at, Scale: 1, Disp: 16 * half}
	}, func(row int) Mem { return Mem{Base: dst, Disp: 64 * row} })
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
