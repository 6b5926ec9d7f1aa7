package kernel

import (
	"iter"
	"slices"
)

// An outer computes the gradient of a layer's weights. For each kernel index k, input channel i and output channel o it
// adds to its sum
//
//	total[k][i][o] += sum over pairs (p, q) of k, over lanes: x[i][p][lane] * dy[o][q][lane]
//
// where the pairs are the input and output positions that weight k connects. There are two ways to keep the sums, which
// round differently; the shape alone decides which is used.
//
// By lane (few weights, many positions): each weight has 16 sums, one per lane, which Gradient adds at the end. The
// chosen tile is done in parts of 32 positions, of which 8 channels fit the first-level cache. If the other side has
// one channel, the weights of a kernel row are done together, up to 3: in parts wherever all of the row meet the image,
// and the rest at once.
//
// By channel (many weights or few positions): one of the two tiles, the chosen one, is transposed to
// [block of channels][position][lane][channel in block], and the lanes of a vector are its channels. A weight has one
// sum, over positions and, within a position, over lanes.
//
// Either way the sum over a tile, or over a part, starts from zero, takes one fused multiply-add per pair (and lane),
// and is then added to the total.
type outer struct {
	byLane bool
	// linear says that this is a linear layer.
	linear bool
	// chooseOutput says that the chosen side, whose channels lie next to each other in totals, is the output.
	chooseOutput bool
	chosen       side
	other        side
	kernel       int // Kernel height x kernel width.
	steps        []step
	// runs are parts of steps, if byLane, that one call can do.
	runs []run
	// totals are [kernel index][other channel][chosen channel], times 16 lanes if byLane. The chosen channels are
	// padded to a multiple of 16 if not byLane.
	totals []float32
	// transposed is the chosen tile, with padded channels; its padding stays zero. Nil if byLane.
	transposed []float32
	// faint is nil for a layer that does not look for faint gradients.
	faint *faint
}

// side is one of the two tiles that an outer reads.
type side struct {
	channels  int
	positions int
	padded    int // Channels, padded if this is the chosen side and not byLane.
}

// plane is the number of values in one channel.
func (s side) plane() int { return s.positions * Lanes }

// step is a part of the work: pairs, in the order of the chosen positions, of kernel index kernel and, if columns is
// more than 1, of those that follow in its row. For the n-th of these the other position is n columns to the right.
type step struct {
	kernel, columns int
	// reached says that not all columns take each pair: see pair.
	reached bool
	part    int
	// phase is the same for steps that meet the same positions of the image that the stride is for.
	phase int
	pairs []pair
}

// pair is a position of the chosen tile and one of the other tile, as offsets of values within a channel. In a step
// with reached, the lowest bits of the first (which is a multiple of 16 otherwise) say which columns take it: 1 is the
// first column.
type pair struct{ chosen, other int32 }

// run is a range of steps that have columns and reached in common. counts has two numbers for each: of its pairs, which
// follow those of the step before in memory, and where its totals begin.
type run struct {
	columns int
	reached bool
	pairs   *pair
	counts  []int32
}

// partPositions is how many chosen positions make a part.
const partPositions = 32

// byLaneLimit is how many values of totals may lie in the first-level caches while tiles stream through.
const byLaneLimit = 32 << 10

// columnStep is how many columns a step has at most.
const columnStep = 3

// runPairs is how many pairs a run has at most, unless a step has more.
const runPairs = 1024

// newOuter plans the outer of a layer, for a path with vectors of so many values. together says that the path has steps
// with reached, and avoids faint gradients.
func newOuter(s Shape, vector int, together bool) *outer {
	input := side{channels: s.InChannels, positions: s.InHeight * s.InWidth}
	output := side{channels: s.OutChannels, positions: s.OutHeight() * s.OutWidth()}
	input.padded, output.padded = input.channels, output.channels
	o := &outer{byLane: s.Weights()*Lanes <= byLaneLimit && min(input.positions, output.positions) >= 2*Lanes}
	if o.byLane {
		o.chooseOutput = output.channels >= input.channels
	} else {
		// Least padding first, then least work to transpose.
		input.padded, output.padded = padLanes(input.channels), padLanes(output.channels)
		inputCost, outputCost := input.padded*output.channels, output.padded*input.channels
		o.chooseOutput = outputCost < inputCost || outputCost == inputCost &&
			output.padded*output.positions <= input.padded*input.positions
	}
	o.chosen, o.other = input, output
	if o.chooseOutput {
		o.chosen, o.other = output, input
	}
	o.other.padded = o.other.channels

	o.kernel = s.KernelHeight * s.KernelWidth
	parts := (o.chosen.positions + partPositions - 1) / partPositions
	if !o.byLane {
		parts = 1
		o.transposed = Values(o.chosen.plane() * o.chosen.padded)
	}
	o.plan(s, parts, together)
	if o.byLane {
		o.planRuns(vector)
		if together && s.looksForFaint() && slowSubnormals() {
			o.faint = newFaint(s.OutSize(), s.InSize())
		}
	}
	o.linear = o.kernel == 1 && o.chosen.positions == 1 && o.other.positions == 1 && len(o.steps) == 1
	o.totals = Values(o.weights() * o.lanes())
	return o
}

// plan lists the steps.
func (o *outer) plan(s Shape, parts int, together bool) {
	rows, columns := s.axes()
	// By kernel index and chosen position: the other position plus 1, or 0 for none.
	meets := make([][]int, o.kernel)
	for k := range meets {
		meets[k] = make([]int, o.chosen.positions)
	}
	for row := range rows.out {
		for column := range columns.out {
			for k := range meets {
				inRow, ok := rows.meet(row, k/columns.kernel)
				inColumn, okColumn := columns.meet(column, k%columns.kernel)
				if !ok || !okColumn {
					continue
				}
				output, input := row*columns.out+column, inRow*columns.in+inColumn
				if o.chooseOutput {
					meets[k][output] = input + 1
				} else {
					meets[k][input] = output + 1
				}
			}
		}
	}
	add := func(st step) {
		if len(st.pairs) > 0 {
			st.phase = st.kernel/columns.kernel%s.Stride*s.Stride + st.kernel%columns.kernel%s.Stride
			o.steps = append(o.steps, st)
		}
	}
	list := func(k, width, part, from, to int) {
		st := step{kernel: k, columns: width, part: part}
		for chosen := from; chosen < min(to, o.chosen.positions); chosen++ {
			if other := meets[k][chosen]; other > 0 {
				st.pairs = append(st.pairs, pair{chosen: int32(chosen * Lanes), other: int32((other - 1) * Lanes)})
			}
		}
		add(st)
	}
	width := 1
	if o.byLane && o.other.channels == 1 {
		width = columns.kernel
	}
	if width > 1 {
		whole, rest := o.splitRows(meets, width)
		meets = whole
		for part := range parts {
			for column, count := range columnBlocks(width) {
				for k := column; k < o.kernel; k += width {
					list(k, count, part, part*partPositions, (part+1)*partPositions)
				}
			}
		}
		meets, parts = rest, 1
		if together {
			for column, count := range columnBlocks(width) {
				for k := column; k < o.kernel; k += width {
					add(step{kernel: k, columns: count, reached: true, pairs: reachedPairs(meets[k:][:count])})
				}
			}
			return
		}
	}
	for part := range parts {
		from, to := part*partPositions, (part+1)*partPositions
		if parts == 1 {
			to = o.chosen.positions
		}
		for k := range o.kernel {
			list(k, 1, part, from, to)
		}
	}
	if !o.byLane {
		slices.SortStableFunc(o.steps, func(a, b step) int { return a.phase - b.phase })
	}
}

// columnBlocks are the columns that a step begins with, and their numbers, for a kernel row.
func columnBlocks(width int) iter.Seq2[int, int] {
	return func(yield func(column, count int) bool) {
		for column := 0; column < width; {
			count, _ := blocks(width - column)
			if !yield(column, count) {
				return
			}
			column += count
		}
	}
}

// blocks says in what blocks to do n things: 3 at a time, ending in 2 or 2 + 2 rather than 1.
func blocks(n int) (size, groups int) {
	switch {
	case n == 1:
		return 1, 1
	case n == 2, n == 4:
		return 2, n / 2
	case n%3 == 1:
		return 3, n/3 - 1
	}
	return 3, n / 3
}

// reachedPairs are the pairs of neighboring kernel indices, in the order of the chosen positions. Those of a chosen
// position are one pair if they meet neighbors.
func reachedPairs(meets [][]int) (pairs []pair) {
	for chosen := range meets[0] {
		first := len(pairs)
		for n := range meets {
			if meets[n][chosen] == 0 {
				continue
			}
			at, other := int32(chosen*Lanes), int32((meets[n][chosen]-1-n)*Lanes)
			if len(pairs) == first || pairs[len(pairs)-1].other != other {
				pairs = append(pairs, pair{chosen: at, other: other})
			}
			pairs[len(pairs)-1].chosen |= 1 << n
		}
	}
	return pairs
}

// planRuns puts the pairs of all steps side by side and lists the runs. If there are several blocks of other channels,
// or several vectors to a position, a run has the steps of one part, so that each of them finds it in the first-level
// cache.
func (o *outer) planRuns(vector int) {
	byPart := o.other.channels > columnStep || vector < Lanes
	count := 0
	for _, st := range o.steps {
		count += len(st.pairs)
	}
	all := make([]pair, 0, count)
	left, part := 0, 0
	for i := range o.steps {
		st := &o.steps[i]
		all = append(all, st.pairs...)
		st.pairs = all[len(all)-len(st.pairs):]
		last := len(o.runs) - 1
		if last < 0 || o.runs[last].columns != st.columns || o.runs[last].reached != st.reached ||
			left < len(st.pairs) || byPart && part != st.part {
			last++
			o.runs = append(o.runs, run{columns: st.columns, reached: st.reached, pairs: &st.pairs[0]})
			left, part = runPairs, st.part
		}
		left -= len(st.pairs)
		o.runs[last].counts = append(o.runs[last].counts, int32(len(st.pairs)),
			int32(st.kernel*o.other.channels*o.chosen.channels*Lanes))
	}
}

// splitRows separates, for a single other channel, the positions where all width weights of a kernel row meet neighbors
// from the rest. One step for the whole row reads the chosen tile once instead of once per weight.
func (o *outer) splitRows(meets [][]int, width int) (whole, rest [][]int) {
	for k := range meets {
		whole, rest = append(whole, slices.Clone(meets[k])), append(rest, slices.Clone(meets[k]))
	}
	for first := 0; first < o.kernel; first += width {
		for chosen, start := range meets[first] {
			together := start > 0
			for n := range width {
				together = together && meets[first+n][chosen] == start+n
			}
			for n := range width {
				if together {
					rest[first+n][chosen] = 0
				} else {
					whole[first+n][chosen] = 0
				}
			}
		}
	}
	return whole, rest
}

// weights is the number of weights, padding included.
func (o *outer) weights() int { return o.kernel * o.other.channels * o.chosen.padded }

// lanes is how many values of totals a weight has.
func (o *outer) lanes() int {
	if o.byLane {
		return Lanes
	}
	return 1
}

func padLanes(channels int) int { return (channels + Lanes - 1) / Lanes * Lanes }

// add adds one tile, and its gradient of the bias to bias.
func (o *outer) add(p *path, bias, dy, x []float32) {
	gradients, inputs := dy, x
	if o.faint != nil {
		gradients, inputs = p.balance(o.faint, dy, x)
	}
	chosen, other := inputs, gradients
	if o.chooseOutput {
		chosen, other = gradients, inputs
	}
	switch {
	case o.byLane:
		p.outerByLane(o, chosen, other)
	case !o.linear || p.outerLinear == nil:
		p.outerByChannel(o, chosen, other)
	case o.chooseOutput:
		p.outerLinear(o, nil, chosen, other)
	default:
		p.outerLinear(o, bias, chosen, other)
		return
	}
	p.sumPositions(bias, dy)
}

// gradient writes the totals to dw, which is (out, in, kh, kw), or (in, out, kh, kw) if inFirst.
func (o *outer) gradient(p *path, dw []float32, inFirst bool) {
	totals := o.totals
	if o.byLane {
		// The sums by lane take the place of the first totals: they are read before they are overwritten.
		totals = totals[:o.weights()]
		p.sumLanes(totals, o.totals)
	}
	if o.kernel == 1 && o.chosen.padded == o.chosen.channels {
		// A linear layer has most of the weights, and the totals differ by a transposition at most.
		if o.chooseOutput != inFirst {
			p.transpose(dw, totals, o.other.channels, o.chosen.channels, o.other.channels)
		} else {
			copy(dw, totals)
		}
		return
	}
	kernel := o.kernel
	perChosen, perOther := kernel, kernel*o.chosen.channels
	if o.chooseOutput != inFirst {
		perChosen, perOther = kernel*o.other.channels, kernel
	}
	for k := range kernel {
		for b := range o.other.channels {
			row := totals[(k*o.other.channels+b)*o.chosen.padded:][:o.chosen.channels]
			at := k + b*perOther
			for _, total := range row {
				dw[at] = total
				at += perChosen
			}
		}
	}
}
