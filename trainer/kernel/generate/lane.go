package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// outerByLane emits the loop of the package's outer, by lane, for a block of chosen times other channels; and, if
// reached, for steps in which each pair says which of the others take it.
func outerByLane(w width, chosen, other int, reached bool) {
	suffix := ""
	if reached {
		suffix = "Reached"
	}
	name := fmt.Sprintf("outerByLane%dx%d%s%s", chosen, other, suffix, w.name)
	function(name, "func(totals, chosen, other *float32, pairs, counts *int32, "+
		"steps, chosenPlane, otherPlane, row int)")
	doc := []string{
		fmt.Sprintf("%s does steps. Each adds to the totals of %d chosen channels a times %d other channels b",
			name, chosen, other),
		"",
		"\ttotals[count.totals + b*row + a*16] += sum over count.pairs pairs: " +
			"chosen[a*chosenPlane + pair.chosen] * other[b*otherPlane + pair.other]",
		"",
		"for each lane of a vector. Planes and row are in bytes, offsets are in values; the numbers of pairs are at " +
			"least 1.",
	}
	if reached {
		doc = append(doc, "Channel b takes a pair if bit b of pair.chosen, otherwise a multiple of 16, is set.")
	}
	Doc(doc...)
	chosenBase, otherBase := argument("chosen"), argument("other")
	pairs, counts, steps, end := argument("pairs"), argument("counts"), argument("steps"), GP64()
	from := newStrided(argument("chosenPlane"), chosen)
	with := newStrided(argument("otherPlane"), other)
	sums := make([][]VecVirtual, chosen)
	for a := range sums {
		sums[a] = w.several(other)
	}
	values, spare := w.several(other), w.new()

	step, loop := label("step"), label("pair")
	Label(step)
	MOVLQSX(Mem{Base: counts}, end)
	LEAQ(Mem{Base: pairs, Index: end, Scale: 8}, end)
	// Another core may have added to the totals last.
	ahead := totalsOf(counts)
	for b := range other {
		for a := range sums {
			PREFETCHT0(Mem{Base: ahead, Disp: 64 * a})
		}
		if b+1 < other {
			ADDQ(argument("row"), ahead)
		}
	}
	for a := range sums {
		for _, sum := range sums[a] {
			w.zero(sum)
		}
	}
	Label(loop)
	at, to, mask := GP64(), GP64(), GP64()
	MOVLQSX(Mem{Base: pairs}, at)
	if reached {
		MOVQ(at, mask)
		ANDQ(I8(-16), at)
	}
	MOVLQSX(Mem{Base: pairs, Disp: 4}, to)
	LEAQ(Mem{Base: chosenBase, Index: at, Scale: 4}, at)
	LEAQ(Mem{Base: otherBase, Index: to, Scale: 4}, to)
	with.at(to, other)
	from.at(at, chosen)
	if reached {
		for b := range values {
			skip := label("skip")
			TESTL(U32(1<<b), mask.As32())
			JEQ(LabelRef(skip))
			VMOVUPS(with.mem(b), values[b])
			for a := range sums {
				VFMADD231PS(from.mem(a), values[b], sums[a][b])
			}
			Label(skip)
		}
	} else {
		for b := range values {
			VMOVUPS(with.mem(b), values[b])
		}
		for a := range sums {
			if other == 1 {
				VFMADD231PS(from.mem(a), values[0], sums[a][0])
				continue
			}
			VMOVUPS(from.mem(a), spare)
			for b := range other {
				VFMADD231PS(spare, values[b], sums[a][b])
			}
		}
	}
	ADDQ(Imm(8), pairs)
	CMPQ(pairs, end)
	JNE(LabelRef(loop))

	totals := totalsOf(counts)
	for b := range other {
		for a := range sums {
			total := Mem{Base: totals, Disp: 64 * a}
			VADDPS(total, sums[a][b], sums[a][b])
			VMOVUPS(sums[a][b], total)
		}
		if b+1 < other {
			ADDQ(argument("row"), totals)
		}
	}
	ADDQ(Imm(8), counts)
	DECQ(steps)
	JNE(LabelRef(step))
	VZEROUPPER()
	RET()
}

// totalsOf is where the totals of a step begin.
func totalsOf(counts Register) GPVirtual {
	totals, offset := argument("totals"), GP64()
	MOVLQSX(Mem{Base: counts, Disp: 4}, offset)
	LEAQ(Mem{Base: totals, Index: offset, Scale: 4}, totals)
	return totals
}
