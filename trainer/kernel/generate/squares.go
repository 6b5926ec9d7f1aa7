package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// gatherSquare emits the loop of the package's gather for a block of squares: 2 x 2 outputs of a single channel, which
// meet the same inputs.
func gatherSquare(w width, positions int) {
	name := fmt.Sprintf("gather%dSquares%s", positions, w.name)
	function(name, "func(y, x, weights *float32, kernelRow int, bias *float32, taps *int32, tapCount int, "+
		"positions *int32, groups, row, outputs int, bound float32)")
	Doc(
		fmt.Sprintf("%s computes groups of %d squares (of vectors): for each position p, and i and j from 0 to 1,",
			name, positions),
		"",
		"\ty[position.y + i*row + j*16] = max(bound, bias[0] +",
		"\t\tsum over taps: weights[tap.w>>4 + i*kernelRow + j] * x[position.x + tap.x])",
		"",
		"if bit 2*i + j of outputs is set; and a tap is left out if that bit of it is not. row and kernelRow are in",
		"bytes, offsets are in values.",
	)
	weights, below := argument("weights"), argument("kernelRow")
	ADDQ(weights, below)
	values, spare := w.several(positions), w.new()
	w.squares(positions, func(x []GPVirtual, sums [][]VecVirtual) {
		loop, last := label("tap"), label("last")
		tap, end, offset := GP64(), GP64(), GP64()
		Load(Param("taps"), tap)
		Load(Param("tapCount"), end)
		LEAQ(Mem{Base: tap, Index: end, Scale: 8}, end)
		CMPQ(tap, end)
		JEQ(LabelRef(last))
		Label(loop)
		MOVLQSX(Mem{Base: tap}, offset)
		for p := range x {
			VMOVUPS(Mem{Base: x[p], Index: offset, Scale: 4}, values[p])
		}
		reached := GP64()
		MOVLQSX(Mem{Base: tap, Disp: 4}, reached)
		MOVQ(reached, offset)
		SARQ(Imm(4), offset)
		for k, from := range []GPVirtual{weights, weights, below, below} {
			skip := label("skip")
			TESTL(U32(1<<k), reached.As32())
			JEQ(LabelRef(skip))
			w.multiplyAdd(Mem{Base: from, Index: offset, Scale: 4, Disp: k % 2 * 4}, spare, values, sums[k])
			Label(skip)
		}
		ADDQ(Imm(8), tap)
		CMPQ(tap, end)
		JNE(LabelRef(loop))
		Label(last)
	}, true)
}

// gatherSquare3x3 emits the same for the squares of a 3 x 3 kernel that lie inside: all have the same taps.
func gatherSquare3x3(w width, positions int) {
	name := fmt.Sprintf("gather%dSquares3x3%s", positions, w.name)
	function(name, "func(y, x, weights, bias *float32, channels, plane, inRow int, positions *int32, "+
		"groups, row int, bound float32)")
	Doc(
		fmt.Sprintf("%s computes groups of %d squares (of vectors) of a 3 x 3 kernel: for each position p, and i and",
			name, positions),
		"j from 0 to 1,",
		"",
		"\ty[position.y + i*row + j*16] = max(bound, bias[0] + sum over channels c, m and n from 0 to 1:",
		"\t\tweights[9*c + 3*(2*m-1+i) + 2*n-1+j] * x[position.x + c*plane - m*inRow - n*16])",
		"",
		"where there is no weight in a row or column -1. row, inRow and plane are in bytes, offsets are in values.",
	)
	values, spare := w.several(positions), w.new()
	w.squares(positions, func(x []GPVirtual, sums [][]VecVirtual) {
		weights, end, step := argument("weights"), argument("channels"), argument("plane")
		inRow := [2]GPVirtual{GP64(), GP64()}
		XORQ(inRow[0], inRow[0])
		MOVQ(inRow[0], inRow[1])
		up := argument("inRow")
		SUBQ(up, inRow[1])
		loop := label("channel")
		Label(loop)
		for m := range 2 {
			for n := range 2 {
				for p := range x {
					VMOVUPS(Mem{Base: x[p], Index: inRow[m], Scale: 1, Disp: -64 * n}, values[p])
				}
				for k := range sums {
					row, column := 2*m-1+k/2, 2*n-1+k%2
					if row >= 0 && column >= 0 {
						w.multiplyAdd(Mem{Base: weights, Disp: 4 * (3*row + column)}, spare, values, sums[k])
					}
				}
			}
			ADDQ(step, inRow[m])
		}
		ADDQ(Imm(9*4), weights)
		DECQ(end)
		JNE(LabelRef(loop))
	}, false)
}

// squares emits the loop over groups of squares. body adds the products to the sums, by output of the square, row by
// row, then position; x are the addresses of the positions.
func (w width) squares(positions int, body func(x []GPVirtual, sums [][]VecVirtual), masked bool) {
	list, groups := argument("positions"), argument("groups")
	x := make([]GPVirtual, positions)
	for p := range x {
		x[p] = GP64()
	}
	sums := make([][]VecVirtual, 4)
	for k := range sums {
		sums[k] = w.several(positions)
	}
	group := label("group")
	Label(group)
	base := GP64()
	Load(Param("x"), base)
	for p := range x {
		MOVLQSX(Mem{Base: list, Disp: 8 * p}, x[p])
		LEAQ(Mem{Base: base, Index: x[p], Scale: 4}, x[p])
	}
	bias := GP64()
	Load(Param("bias"), bias)
	for k := range sums {
		w.spread(Mem{Base: bias}, sums[k])
	}
	body(x, sums)
	y, row := GP64(), GP64()
	Load(Param("y"), y)
	Load(Param("row"), row)
	for p := range x {
		MOVLQSX(Mem{Base: list, Disp: 8*p + 4}, x[p])
		LEAQ(Mem{Base: y, Index: x[p], Scale: 4}, x[p])
	}
	var outputs GPVirtual
	if masked {
		outputs = argument("outputs")
	}
	w.storing(label("stored"), false, func(store func(sum VecVirtual, to Mem)) {
		for k := range sums {
			skip := label("skip")
			if masked {
				TESTL(U32(1<<k), outputs.As32())
				JEQ(LabelRef(skip))
			}
			for p := range x {
				to := Mem{Base: x[p], Disp: k % 2 * 64}
				if k >= 2 {
					to.Index, to.Scale = row, 1
				}
				store(sums[k][p], to)
			}
			if masked {
				Label(skip)
			}
		}
	})
	ADDQ(Imm(uint64(8*positions)), list)
	DECQ(groups)
	JNE(LabelRef(group))
	VZEROUPPER()
	RET()
}
