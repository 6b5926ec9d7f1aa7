package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// gather emits the loop of the package's gather for a block of positions (vectors) times channels.
func gather(w width, positions, channels int) {
	name := fmt.Sprintf("gather%dx%d%s", positions, channels, w.name)
	second := channels > 8
	parameters := "y, x, weights *float32, "
	if second {
		parameters += "next int, "
	}
	function(name, "func("+parameters+
		"bias *float32, taps *int32, tapCount int, positions *int32, groups, plane, channels int, bound float32, "+
		"relu *float32)")
	doc := []string{
		fmt.Sprintf("%s computes groups of %d positions (vectors) times %d channels: "+
			"for each position p and channel k,",
			name, positions, channels),
		"",
		"\ty[position.y + k*plane] = max(bound, bias[k] + sum over taps: weights[tap.w + k] * x[position.x + tap.x])",
		"",
		"Only the first channels are stored. plane is in bytes, offsets are in values. Unless relu is nil, bound is",
		"minus infinity, and zeros are stored where relu, which is like y, is not above 0.",
	}
	if second {
		doc = append(doc, "The weights of channels 8 and up begin next bytes after the first. Groups are not of "+
			"positions, of which", "there is one, but of the channels that follow.")
	}
	Doc(doc...)
	list, groups := argument("positions"), argument("groups")
	weights := argument("weights")
	var weights2 GPVirtual
	y, bias := GP64(), GP64()
	if second {
		weights2 = argument("next")
		ADDQ(weights, weights2)
		Load(Param("y"), y)
		Load(Param("bias"), bias)
	}
	x := make([]GPVirtual, positions)
	for p := range x {
		x[p] = GP64()
	}
	sums := make([][]VecVirtual, channels) // By channel, then position.
	for k := range sums {
		sums[k] = w.several(positions)
	}
	// With few channels, there are not registers enough for all positions' inputs, but for all weights.
	few := positions > 3 && channels > 1
	values, spare := w.several(positions), w.new()

	group, loop, last := label("group"), label("tap"), label("last")
	Label(group)
	base := GP64()
	Load(Param("x"), base)
	for p := range x {
		MOVLQSX(Mem{Base: list, Disp: 8 * p}, x[p])
		LEAQ(Mem{Base: base, Index: x[p], Scale: 4}, x[p])
	}
	if !second {
		Load(Param("bias"), bias)
	}
	for k := range sums {
		w.spread(Mem{Base: bias, Disp: 4 * k}, sums[k])
	}
	tap, end, offset := GP64(), GP64(), GP64()
	Load(Param("taps"), tap)
	Load(Param("tapCount"), end)
	LEAQ(Mem{Base: tap, Index: end, Scale: 8}, end)
	CMPQ(tap, end)
	JEQ(LabelRef(last))

	Label(loop)
	if channels == 1 {
		MOVLQSX(Mem{Base: tap, Disp: 4}, offset)
		VBROADCASTSS(Mem{Base: weights, Index: offset, Scale: 4}, spare)
		MOVLQSX(Mem{Base: tap}, offset)
		for p := range x {
			VFMADD231PS(Mem{Base: x[p], Index: offset, Scale: 4}, spare, sums[0][p])
		}
	} else if few {
		MOVLQSX(Mem{Base: tap, Disp: 4}, offset)
		factors := w.several(channels)
		for k := range factors {
			VBROADCASTSS(Mem{Base: weights, Index: offset, Scale: 4, Disp: 4 * k}, factors[k])
		}
		MOVLQSX(Mem{Base: tap}, offset)
		for p := range x {
			VMOVUPS(Mem{Base: x[p], Index: offset, Scale: 4}, spare)
			for k := range factors {
				VFMADD231PS(factors[k], spare, sums[k][p])
			}
		}
	} else {
		MOVLQSX(Mem{Base: tap}, offset)
		for p := range x {
			VMOVUPS(Mem{Base: x[p], Index: offset, Scale: 4}, values[p])
		}
		weight := GP64()
		MOVLQSX(Mem{Base: tap, Disp: 4}, weight)
		from := []Mem{{Base: weights, Index: weight, Scale: 4}}
		if positions == 1 {
			// A multiply-add that takes an index beside counts as two operations.
			from[0] = Mem{Base: GP64()}
			LEAQ(Mem{Base: weights, Index: weight, Scale: 4}, from[0].Base)
		}
		if second {
			from = append(from, Mem{Base: GP64()})
			LEAQ(Mem{Base: weights2, Index: weight, Scale: 4}, from[1].Base)
		}
		for k := range sums {
			factor := from[k/8]
			factor.Disp = 4 * (k % 8)
			w.multiplyAdd(factor, spare, values, sums[k])
		}
	}
	ADDQ(Imm(8), tap)
	CMPQ(tap, end)
	JNE(LabelRef(loop))

	Label(last)
	if !second {
		Load(Param("y"), y)
	}
	for p := range x {
		MOVLQSX(Mem{Base: list, Disp: 8*p + 4}, x[p])
		LEAQ(Mem{Base: y, Index: x[p], Scale: 4}, x[p])
	}
	stored := label("stored")
	plane, count := GP64(), GP64()
	if channels > 1 {
		Load(Param("plane"), plane)
		Load(Param("channels"), count)
	}
	w.storing(stored, true, func(store func(sum VecVirtual, to Mem)) {
		for k := range sums {
			for p := range x {
				store(sums[k][p], Mem{Base: x[p]})
			}
			if k+1 < channels {
				CMPQ(count, Imm(uint64(k+1)))
				JEQ(LabelRef(stored))
				for p := range x {
					ADDQ(plane, x[p])
				}
			}
		}
	})
	if second {
		next := argument("next")
		LEAQ(Mem{Base: weights, Index: next, Scale: 2}, weights)
		LEAQ(Mem{Base: weights2, Index: next, Scale: 2}, weights2)
		SHLQ(Imm(4), plane)
		ADDQ(plane, y)
		ADDQ(Imm(uint64(4*channels)), bias)
	} else {
		ADDQ(Imm(uint64(8*positions)), list)
	}
	DECQ(groups)
	JNE(LabelRef(group))
	VZEROUPPER()
	RET()
}

// spread broadcasts a float32 into several registers. Copies of one register would take the place of multiply-adds.
func (w width) spread(from Mem, to []VecVirtual) {
	for _, register := range to {
		VBROADCASTSS(from, register)
	}
}

// storing emits body once for each way to store sums: with the parameter bound; as they are, if that is minus infinity;
// and, if there is a parameter relu and it is not nil, with zeros where what that points to, in place of the parameter
// y, is not above 0. All end at label stored.
func (w width) storing(stored string, relu bool, body func(store func(sum VecVirtual, to Mem))) {
	limit, err := Param("bound").Resolve()
	if err != nil {
		panic(err)
	}
	unbounded := label("unbounded")
	CMPL(limit.Addr, U32(math.Float32bits(float32(math.Inf(-1)))))
	JEQ(LabelRef(unbounded))
	bound := w.new()
	VBROADCASTSS(limit.Addr, bound)
	body(func(sum VecVirtual, to Mem) {
		// If one is a NaN, or both are zeros, the result is the sum.
		VMAXPS(sum, bound, sum)
		VMOVUPS(sum, to)
	})
	JMP(LabelRef(stored))
	Label(unbounded)
	if relu {
		plain, from, zero := label("plain"), argument("relu"), w.new()
		TESTQ(from, from)
		JEQ(LabelRef(plain))
		y, err := Param("y").Resolve()
		if err != nil {
			panic(err)
		}
		SUBQ(y.Addr, from)
		w.zero(zero)
		body(func(sum VecVirtual, to Mem) {
			decides := indexed(to.Base.(GPVirtual), from)
			decides.Disp = to.Disp
			w.clearUnlessAbove(decides, zero, sum)
			VMOVUPS(sum, to)
		})
		JMP(LabelRef(stored))
		Label(plain)
	}
	body(func(sum VecVirtual, to Mem) { VMOVUPS(sum, to) })
	Label(stored)
}

// clearUnlessAbove clears the lanes of a register in which what is in memory is neither above zero nor not a number.
func (w width) clearUnlessAbove(from Mem, zero, register VecVirtual) {
	const notGreaterEqual = 9 // Of zero and what is in memory.
	if w.bytes == 64 {
		keep := K()
		VCMPPS(Imm(notGreaterEqual), from, zero, keep)
		VMOVAPS_Z(register, keep, register)
		return
	}
	keep := w.new()
	VCMPPS(Imm(notGreaterEqual), from, zero, keep)
	VANDPS(keep, register, register)
}

// peak emits independent multiply-adds on registers, for benchmarks.
func peak(w width) {
	name := "peak" + w.name
	const sums = 12
	function(name, "func(rounds int)")
	Doc(fmt.Sprintf("%s does rounds times %d multiply-adds of %d lanes, all in registers.", name, 2*sums, w.floats()))
	rounds := argument("rounds")
	registers, factor := w.several(sums), w.new()
	w.zero(factor)
	for _, register := range registers {
		w.zero(register)
	}
	loop := label("round")
	Label(loop)
	for range 2 {
		for _, register := range registers {
			VFMADD231PS(factor, factor, register)
		}
	}
	DECQ(rounds)
	JNE(LabelRef(loop))
	VZEROUPPER()
	RET()
}
