package main

import (
	"fmt"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// packed is how many channels a block of packed weights has.
const packed = 8

// gatherLinear emits the loop of the package's gather for a linear layer, for so many output channels. These are done
// in parts, as many at once as there are registers for the sums.
func gatherLinear(w width, channels int, parts ...int) {
	name := fmt.Sprintf("gatherLinear%d%s", channels, w.name)
	function(name, "func(y, x, weights *float32, next int, bias *float32, inputs, groups, channels int, "+
		"bound float32, relu *float32)")
	Doc(
		fmt.Sprintf("%s computes groups of %d output channels of a linear layer: for each channel k and lane,", name,
			channels),
		"",
		"\ty[k*16 + lane] = max(bound, bias[k] + sum over inputs i: weights[k/8*next + i*8 + k%8] * x[i*16 + lane])",
		"",
		"Only the first channels of a group are stored. next is in bytes. Unless relu is nil, bound is minus infinity,",
		"and zeros are stored where relu, which is like y, is not above 0.",
	)
	vectors := 64 / w.bytes // Of an input or output.
	y, weights, next, bias := argument("y"), argument("weights"), argument("next"), argument("bias")
	groups := argument("groups")
	sums := make([][]VecVirtual, slices.Max(parts))
	for k := range sums {
		sums[k] = w.several(vectors)
	}
	values, spare := w.several(vectors), w.new()

	group, stored := label("group"), label("stored")
	Label(group)
	done := 0
	for _, part := range parts {
		sums, first := sums[:part], done%packed
		for k := range sums {
			w.spread(Mem{Base: bias, Disp: 4 * k}, sums[k])
		}
		x, end := argument("x"), argument("inputs")
		SHLQ(Imm(6), end)
		ADDQ(x, end)
		// The blocks that have this part's weights.
		from := make([]GPVirtual, (first+part-1)/packed+1)
		for i := range from {
			from[i] = GP64()
			if i == 0 {
				MOVQ(weights, from[i])
			} else {
				LEAQ(Mem{Base: from[i-1], Index: next, Scale: 1}, from[i])
			}
		}
		loop := label("input")
		Label(loop)
		for i := range values {
			VMOVUPS(Mem{Base: x, Disp: i * w.bytes}, values[i])
		}
		for k := range sums {
			factor := Mem{Base: from[(first+k)/packed], Disp: 4 * ((first + k) % packed)}
			w.multiplyAdd(factor, spare, values, sums[k])
		}
		for i := range from {
			ADDQ(Imm(4*packed), from[i])
		}
		ADDQ(Imm(64), x)
		CMPQ(x, end)
		JNE(LabelRef(loop))

		partStored, count := label("part"), argument("channels")
		w.storing(partStored, true, func(store func(sum VecVirtual, to Mem)) {
			for k := range sums {
				for i := range values {
					store(sums[k][i], Mem{Base: y, Disp: 64*k + i*w.bytes})
				}
				if n := done + k + 1; n < channels {
					CMPQ(count, Imm(uint64(n)))
					JEQ(LabelRef(stored))
				}
			}
		})
		ADDQ(U32(uint32(64*part)), y)
		ADDQ(Imm(uint64(4*part)), bias)
		for range (first + part) / packed {
			ADDQ(next, weights)
		}
		done += part
	}
	DECQ(groups)
	JNE(LabelRef(group))
	Label(stored)
	VZEROUPPER()
	RET()
}

// outerLinear emits the loop of the package's outer, by channel, for a linear layer and a block of vectors of chosen
// channels times other channels.
func outerLinear(w width, vectors, other int) {
	name := fmt.Sprintf("outerLinear%dx%d%s", vectors, other, w.name)
	function(name, "func(totals, transposed, other, bias *float32, row, blocks int)")
	Doc(
		fmt.Sprintf("%s adds to the totals of %d vectors of chosen channels times %d other channels b", name, vectors,
			other),
		"",
		"\ttotals[b*row] += sum over lanes: transposed[lane][...] * other[b*16 + lane]",
		"",
		fmt.Sprintf("for each of %d neighboring chosen channels, of which a row of transposed consists, and, unless",
			vectors*w.floats()),
		"bias is nil,",
		"",
		"\tbias[b*16 + lane] += other[b*16 + lane]",
		"",
		"row is in bytes. It does so for blocks of other channels that follow each other.",
	)
	totals, factors, bias, row := argument("totals"), argument("other"), argument("bias"), argument("row")
	blocks := argument("blocks")
	block, lane, summed := label("block"), label("lane"), label("summed")
	Label(block)
	sums := make([][]VecVirtual, other)
	for b := range sums {
		sums[b] = w.several(vectors)
		for _, sum := range sums[b] {
			w.zero(sum)
		}
	}
	prefetchTotals(totals, row, other, vectors*w.bytes)
	values, spare := w.several(vectors), w.new()
	from, end := argument("transposed"), GP64()
	const turn = 4              // Lanes that are done before counting.
	chosen := vectors * w.bytes // Of a lane.
	LEAQ(Mem{Base: from, Disp: 16 * chosen}, end)
	Label(lane)
	for n := range turn {
		for i := range values {
			VMOVUPS(Mem{Base: from, Disp: n*chosen + i*w.bytes}, values[i])
		}
		for b := range sums {
			w.multiplyAdd(Mem{Base: factors, Disp: 64*b + 4*n}, spare, values, sums[b])
		}
	}
	ADDQ(U32(uint32(turn*chosen)), from)
	ADDQ(Imm(4*turn), factors)
	CMPQ(from, end)
	JNE(LabelRef(lane))

	for b := range sums {
		for i := range values {
			total := Mem{Base: totals, Disp: i * w.bytes}
			VADDPS(total, sums[b][i], sums[b][i])
			VMOVUPS(sums[b][i], total)
		}
		ADDQ(row, totals)
	}
	TESTQ(bias, bias)
	JEQ(LabelRef(summed))
	for at := 0; at < 64*other; at += w.bytes {
		VMOVUPS(Mem{Base: bias, Disp: at}, spare)
		VADDPS(Mem{Base: factors, Disp: at - 64}, spare, spare)
		VMOVUPS(spare, Mem{Base: bias, Disp: at})
	}
	ADDQ(U32(uint32(64*other)), bias)
	Label(summed)
	if other > 1 {
		ADDQ(U32(uint32(64*(other-1))), factors)
	}
	DECQ(blocks)
	JNE(LabelRef(block))
	VZEROUPPER()
	RET()
}
