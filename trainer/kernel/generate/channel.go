package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// outerByChannel emits the loop of the package's outer, by channel, for a block of vectors of chosen channels times
// other channels.
func outerByChannel(w width, vectors, other int) {
	name := fmt.Sprintf("outerByChannel%dx%d%s", vectors, other, w.name)
	function(name, "func(totals, transposed, other *float32, pairs *int32, count, row, plane, blocks int)")
	Doc(
		fmt.Sprintf("%s adds to the totals of %d vectors of chosen channels times %d other channels b", name, vectors,
			other),
		"",
		"\ttotals[b*row] += sum over pairs and lanes: "+
			"transposed[pair.chosen + lane][...] * other[b*plane + pair.other + lane]",
		"",
		fmt.Sprintf("for each of %d neighboring chosen channels, of which a row of transposed consists. row and plane",
			vectors*w.floats()),
		"are in bytes, offsets are in values; count is at least 1. It does so for blocks of other channels that follow",
		"each other.",
	)
	fromBase, otherBase := argument("transposed"), argument("other")
	totals, row := argument("totals"), argument("row")
	with := newStrided(argument("plane"), other)
	block := label("block")
	Label(block)
	pairs, end := argument("pairs"), argument("count")
	LEAQ(Mem{Base: pairs, Index: end, Scale: 8}, end)
	sums := make([][]VecVirtual, other)
	for b := range sums {
		sums[b] = w.several(vectors)
		for _, sum := range sums[b] {
			w.zero(sum)
		}
	}
	prefetchTotals(totals, row, other, vectors*w.bytes)
	values, spare := w.several(vectors), w.new()

	pair, lane := label("pair"), label("lane")
	Label(pair)
	from, factor, last := GP64(), GP64(), GP64()
	chosen := vectors * w.bytes // Of a lane.
	MOVLQSX(Mem{Base: pairs}, from)
	IMUL3Q(Imm(uint64(chosen)), from, from)
	ADDQ(fromBase, from)
	MOVLQSX(Mem{Base: pairs, Disp: 4}, factor)
	LEAQ(Mem{Base: otherBase, Index: factor, Scale: 4}, factor)
	LEAQ(Mem{Base: factor, Disp: 64}, last)
	with.at(factor, other)
	// Small blocks do several lanes in a turn, so that counting is little of it.
	turn := 1
	if vectors*other <= 16 && vectors*other >= 8 {
		turn = 4
	}
	Label(lane)
	for n := range turn {
		for i := range values {
			VMOVUPS(Mem{Base: from, Disp: n*chosen + i*w.bytes}, values[i])
		}
		for b := range sums {
			at := with.mem(b)
			at.Disp = 4 * n
			w.multiplyAdd(at, spare, values, sums[b])
		}
	}
	ADDQ(U32(uint32(turn*chosen)), from)
	ADDQ(Imm(uint64(4*turn)), factor)
	for _, base := range with.more(other) {
		ADDQ(Imm(uint64(4*turn)), base)
	}
	CMPQ(factor, last)
	JNE(LabelRef(lane))
	ADDQ(Imm(8), pairs)
	CMPQ(pairs, end)
	JNE(LabelRef(pair))

	for b := range sums {
		for i := range values {
			total := Mem{Base: totals, Disp: i * w.bytes}
			VADDPS(total, sums[b][i], sums[b][i])
			VMOVUPS(sums[b][i], total)
		}
		ADDQ(row, totals)
	}
	for range other {
		ADDQ(with.stride, otherBase)
	}
	blocks := GP64()
	Load(Param("blocks"), blocks)
	DECQ(blocks)
	Store(blocks, Param("blocks"))
	JNE(LabelRef(block))
	VZEROUPPER()
	RET()
}

// prefetchTotals emits the prefetching of so many rows, so many bytes of each, as another core may have added to the
// totals last.
func prefetchTotals(totals, row GPVirtual, rows, bytes int) {
	ahead := GP64()
	MOVQ(totals, ahead)
	for b := range rows {
		for i := 0; i < bytes; i += 64 {
			PREFETCHT0(Mem{Base: ahead, Disp: i})
		}
		if b+1 < rows {
			ADDQ(row, ahead)
		}
	}
}
