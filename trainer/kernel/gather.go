package kernel

import "slices"

// bandBytes is how much of the input a band of output rows may read, so that all blocks of output channels, and all
// classes, find it in a second-level cache of 512 KiB.
const bandBytes = 384 << 10

// Positions of a single output channel are done 8 or 4 at once. Their number is filled up to a multiple of 4 by
// repeating the last, which is computed several times over. As each tap of a position is used for one product only,
// a band is small.
const (
	singleStep = 4
	singleRows = 14
	// squareStep is the same for squares. It is the smallest block of every path.
	squareStep = 3
)

// block is how many output channels share one pass over the input.
const block = 8

// A gather computes, for every output channel o and every position p of its output image,
//
//	y[o][p] = max(bound, bias[o] + sum over taps t of p: weight[t][o] * x[t + p])
//
// lane by lane: a convolution forward, a transposed convolution backward to its input, a linear layer either way, and,
// through its taps, also a transposed convolution forward and a convolution backward to its input. Positions whose taps
// are the same, relative to the position, form a class; taps that would fall on padding do not exist.
//
// The sum starts from the bias and adds the taps in the order input channel, kernel row, kernel column, one fused
// multiply-add each.
//
// In a transposed convolution with stride 2, neighboring outputs meet the same inputs, in the same order, through
// neighboring kernel indices. For a single output channel, 2 x 2 such outputs are one position, a square, so that an
// input is loaded once for up to four products.
type gather struct {
	in, out int // Values in an input and in an output tile.

	inChannels, outChannels int
	inPlane, inRow          int // Values of one input channel, and of one row of it.
	outPlane                int // Values of one output channel.
	outRow                  int // Values of one row of it.
	kernel                  int // Kernel height x kernel width.
	kernelWidth             int
	weightsOutFirst         bool
	// squares says that each position stands for 2 x 2 outputs, itself at the top left.
	squares bool
	// linear says that this is a linear layer with several outputs. What looks like one may meet nothing but padding.
	linear bool

	classes []class
	bias    []float32 // By output channel, zeros up to a multiple of block.
	// weights are [block of output channels][input channel][kernel row][kernel column][channel in block], with zeros
	// for the missing channels; for one output channel [input channel][kernel row][kernel column].
	weights []float32
	// subnormals are nil for a gather that does without.
	subnormals *subnormals
	// faint says that its inputs are gradients that may be faint. Its biases are zero then.
	faint bool
}

// class is a set of output positions with the same taps. A path whose vectors are shorter than a position has several
// entries for each.
type class struct {
	taps      []tap
	positions []position
	// outputs has a bit for each output of a square that exists: see line.
	outputs int
	// inside3x3 says that the kernel is 3 x 3 and has all taps of a square, the first of which reach its end only.
	inside3x3 bool
}

// tap says which input value, relative to the position's, meets which weight, relative to the block's first. If the
// position is a square, w is that weight's offset times 16 plus the outputs that the tap reaches: the weight is the
// top left output's, and a neighbor's to the right (below) is the one to the right (below), if it is reached.
type tap struct{ x, w int32 }

// position says where a position's taps start in x, and where its first output channel lies in y.
type position struct{ x, y int32 }

// axis maps one axis of the output image to taps: for output index i it lists the kernel indices and the input indices
// that they meet.
type axis struct {
	in, out, kernel, stride, padding int
	transposed                       bool
}

// meet returns the input index that kernel index k meets at output index i, and whether there is one.
func (a axis) meet(i, k int) (int, bool) {
	j := i*a.stride - a.padding + k
	if a.transposed {
		j = i + a.padding - k
		if j%a.stride != 0 {
			return 0, false
		}
		j /= a.stride
	}
	return j, j >= 0 && j < a.in
}

// line is what units of one axis have in common, where a unit is one output index, or two neighbors: the kernel indices
// of the first that meet the input, or would if the first existed; how far each one's input index is from the first;
// which outputs it reaches; and which exist. Outputs are bits: 1 is the first, 2 its neighbor.
type line struct {
	kernel, offset, reached []int
	outputs                 int
}

// unit is a number of a line, the first output index, and the input index of the line's first kernel index. A first
// output that does not exist has index -1.
type unit struct{ line, output, input int }

// lines groups the axis, in units of size 1 or 2 (pairs), by line.
func (a axis) lines(size int) (distinct []line, units []unit) {
	first := 0
	if size == 2 && a.kernel%2 == 0 && a.padding%2 == 1 {
		// So the pair meets kernel/2 inputs, not one more. An odd kernel has the same number of inputs either way.
		first = -1
	}
	for output := first; output < a.out; output += size {
		var l line
		u := unit{output: output}
		for d := range size {
			if output+d >= 0 && output+d < a.out {
				l.outputs |= 1 << d
			}
		}
		for k := 1 - size; k < a.kernel; k++ {
			j, ok := a.meet(output, k)
			reached := 0
			for d := range size {
				if k+d >= 0 && k+d < a.kernel {
					reached |= 1 << d & l.outputs
				}
			}
			if !ok || reached == 0 {
				continue
			}
			if len(l.kernel) == 0 {
				u.input = j
			}
			l.kernel = append(l.kernel, k)
			l.offset = append(l.offset, j-u.input)
			l.reached = append(l.reached, reached)
		}
		u.line = slices.IndexFunc(distinct, l.equal)
		if u.line < 0 {
			u.line = len(distinct)
			distinct = append(distinct, l)
		}
		units = append(units, u)
	}
	return distinct, units
}

func (l line) equal(other line) bool {
	return l.outputs == other.outputs && slices.Equal(l.kernel, other.kernel)
}

// inside3 says whether a pair meets all inputs that a kernel of 3 can, the first of which reaches the neighbor only.
func (l line) inside3(a axis) bool {
	return a.kernel == 3 && slices.Equal(l.kernel, []int{-1, 1})
}

// square combines outputs of a row's unit and a column's: bit 2*i + j is row i, column j.
func square(rows, columns int) int { return rows&1*columns | rows>>1*columns<<2 }

// newGather plans the gather from in channels of rows.in x columns.in to out channels of rows.out x columns.out, for a
// path with vectors of so many values, that does squares or not.
func newGather(vector int, squares bool, in, out int, rows, columns axis) *gather {
	g := &gather{
		in:              in * rows.in * columns.in * Lanes,
		out:             out * rows.out * columns.out * Lanes,
		inChannels:      in,
		outChannels:     out,
		inPlane:         rows.in * columns.in * Lanes,
		inRow:           columns.in * Lanes,
		outPlane:        rows.out * columns.out * Lanes,
		outRow:          columns.out * Lanes,
		kernel:          rows.kernel * columns.kernel,
		kernelWidth:     columns.kernel,
		weightsOutFirst: !rows.transposed,
		squares:         squares && out == 1 && rows.transposed && rows.stride == 2,
	}
	width, padded := g.width(), (out+block-1)/block*block
	g.bias = Values(padded)
	if width == 1 {
		padded = 1
	}
	g.weights = Values(padded * in * g.kernel)

	size := 1 // Outputs of a position in either direction.
	if g.squares {
		size = 2
	}
	rowLines, rowUnits := rows.lines(size)
	columnLines, columnUnits := columns.lines(size)
	all := make([]class, 0, len(rowLines)*len(columnLines))
	for _, rowLine := range rowLines {
		for _, columnLine := range columnLines {
			all = append(all, class{
				taps:      g.taps(rowLine, columnLine, rows, columns),
				outputs:   square(rowLine.outputs, columnLine.outputs),
				inside3x3: rowLine.inside3(rows) && columnLine.inside3(columns),
			})
		}
	}
	// A band of squares has all rows: most positions are in one class, which reads an input row twice in a row.
	band := len(rowUnits)
	if !g.squares {
		band = bandRows(in, out, rows, columns)
	}
	for top := 0; top < len(rowUnits); top += band {
		classes := slices.Clone(all)
		for _, row := range rowUnits[top:min(top+band, len(rowUnits))] {
			for _, column := range columnUnits {
				c := &classes[row.line*len(columnLines)+column.line]
				for lane := 0; lane < Lanes; lane += vector {
					c.positions = append(c.positions, position{
						x: int32((row.input*columns.in+column.input)*Lanes + lane),
						y: int32((row.output*columns.out+column.output)*Lanes + lane),
					})
				}
			}
		}
		for _, c := range classes {
			if len(c.positions) > 0 {
				g.classes = append(g.classes, c)
			}
		}
	}
	pixels := rows.in * columns.in * rows.out * columns.out
	g.linear = g.kernel*pixels == 1 && len(g.classes[0].taps) == in && out > 1
	if out == 1 {
		step := singleStep
		if g.squares {
			step = squareStep
		}
		for i := range g.classes {
			c := &g.classes[i]
			for len(c.positions)%step != 0 {
				c.positions = append(c.positions, c.positions[len(c.positions)-1])
			}
		}
	}
	return g
}

// taps lists the taps of the positions that have these lines.
func (g *gather) taps(rowLine, columnLine line, rows, columns axis) []tap {
	taps := make([]tap, 0, g.inChannels*len(rowLine.kernel)*len(columnLine.kernel))
	for channel := range g.inChannels {
		for i, kr := range rowLine.kernel {
			for j, kc := range columnLine.kernel {
				w := ((channel*rows.kernel+kr)*columns.kernel + kc) * g.width()
				if g.squares {
					w = w<<4 | square(rowLine.reached[i], columnLine.reached[j])
				}
				x := ((channel*rows.in+rowLine.offset[i])*columns.in + columnLine.offset[j]) * Lanes
				taps = append(taps, tap{x: int32(x), w: int32(w)})
			}
		}
	}
	return taps
}

// bandRows is how many rows of output a band has. The classes take turns, band by band.
func bandRows(in, out int, rows, columns axis) int {
	if out == 1 {
		return singleRows
	}
	most := bandBytes / (4 * Lanes * in * columns.in) // Rows of input.
	if most >= rows.in {
		return rows.out // Nothing is to be gained. So the weights are read once only.
	}
	// At least one row of output. What it reads may be too much for a small cache, and each band reads the weights
	// again, which wide layers have more of: 512x8x8-1024x4x4 reads its weights, many MiB, four times.
	band := 1
	for rows.reach(band+1) <= most {
		band++
	}
	bands := (rows.out + band - 1) / band
	return (rows.out + bands - 1) / bands
}

// reach is how many input indices so many neighboring output indices meet at most.
func (a axis) reach(count int) int {
	if a.transposed {
		return (count+a.kernel-2)/a.stride + 1
	}
	return (count-1)*a.stride + a.kernel
}

// width is the number of output channels in a block.
func (g *gather) width() int {
	if g.outChannels == 1 {
		return 1
	}
	return block
}

// setWeights packs weights that are (out, in, kh, kw) if weightsOutFirst, else (in, out, kh, kw), and biases (nil means
// zeros).
func (g *gather) setWeights(p *path, weights, bias []float32) {
	if g.subnormals != nil && p.findSubnormals != nil {
		defer p.findSubnormals(g)
	}
	clear(g.bias)
	copy(g.bias, bias)
	width, perOut := g.width(), g.inChannels*g.kernel
	for first := 0; first < g.outChannels; first += width {
		packed := g.weights[first*perOut:][:width*perOut]
		channels := min(width, g.outChannels-first)
		if g.weightsOutFirst {
			p.transpose(packed, weights[first*perOut:], channels, perOut, width)
			continue
		}
		if g.kernel == 1 && channels == block {
			p.copyBlocks(packed, weights[first:], g.inChannels, g.outChannels)
			continue
		}
		for i := range g.inChannels {
			from := weights[(i*g.outChannels+first)*g.kernel:]
			p.transpose(packed[i*g.kernel*width:], from, channels, g.kernel, width)
		}
	}
}
