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
			"transposed[pair.chosen + lane*row] * other[b*plane + pair.other + lane]",
		"",
		fmt.Sprintf("for each of %d neighboring chosen channels. row and plane are in bytes, "+
			"offsets are in values; count is",
			vectors*w.floats()),
		"at least 1. It does so for blocks of other channels that follow each other.",
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
	values, spare := w.several(vectors), w.new()

	pair, lane := label("pair"), label("lane")
	Label(pair)
	from, factor, last := GP64(), GP64(), GP64()
	MOVLQSX(Mem{Base: pairs}, from)
	LEAQ(Mem{Base: fromBase, Index: from, Scale: 4}, from)
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
			VMOVUPS(Mem{Base: from, Disp: i * w.bytes}, values[i])
		}
		for b := range sums {
			at := with.mem(b)
			at.Disp = 4 * n
			w.multiplyAdd(at, spare, values, sums[b])
		}
		ADDQ(row, from)
	}
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
