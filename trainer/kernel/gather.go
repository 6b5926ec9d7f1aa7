package kernel

// bandBytes is how much of the input a band of output rows may read, so that all blocks of output channels, and all
// classes, find it in a second-level cache of 512 KiB.
const bandBytes = 384 << 10

// Positions of a single output channel are done 8 or 4 at once. Their number is filled up to a multiple of 4 by
// repeating the last, which is computed several times over. As each tap of a position is used for one product only,
// a band is small.
const (
	singleStep = 4
	singleRows = 14
	// squareStep is the same for squares. It is a multiple of every path's block.
	squareStep = 6
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
// In a transposed convolution with stride 2 and an even kernel, two neighboring outputs meet the same inputs, in the
// same order, through neighboring kernel indices. For a single output channel, 2 x 2 such outputs are one position, a
// square, so that an input is loaded once for four products.
type gather struct {
	in, out int // Values in an input and in an output tile.

	inChannels, outChannels int
	outPlane                int // Values of one output channel.
	outRow                  int // Values of one row of it.
	kernel                  int // Kernel height x kernel width.
	kernelWidth             int
	weightsOutFirst         bool

	classes []class
	bias    []float32 // By output channel, zeros up to a multiple of block.
	// weights are [block of output channels][input channel][kernel row][kernel column][channel in block], with zeros
	// for the missing channels; for one output channel [input channel][kernel row][kernel column].
	weights []float32
}

// class is a set of output positions with the same taps. A path whose vectors are shorter than a position has several
// entries for each.
type class struct {
	// squares says that each position stands for 2 x 2 outputs, itself at the top left. The tap of a neighbor to the
	// right (below) has the weight one to the right (below).
	squares   bool
	taps      []tap
	positions []position
}

// tap says which input value, relative to the position's, meets which weight, relative to the block's first.
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

// line is what output indices of one axis have in common: the kernel indices that meet the input, and how far each is
// from the first.
type line struct{ kernel, offset []int }

// pairs says whether two neighboring output indices may meet the same input indices, through kernel indices that
// differ by one.
func (a axis) pairs() bool { return a.transposed && a.stride == 2 && a.kernel%2 == 0 }

// pair says whether output index i begins a pair, or ends one.
func (a axis) pair(i int) (begins, ends bool) {
	even := (i+a.padding)%2 == 0
	return even && i+1 < a.out, !even && i > 0
}

// lines groups the output indices by line. It returns the distinct lines, the line of each output index (by number),
// and the input index of its first tap.
func (a axis) lines() (distinct []line, which, first []int) {
	for i := range a.out {
		var l line
		start := 0
		for k := range a.kernel {
			if j, ok := a.meet(i, k); ok {
				if len(l.kernel) == 0 {
					start = j
				}
				l.kernel = append(l.kernel, k)
				l.offset = append(l.offset, j-start)
			}
		}
		number := len(distinct)
		for n, known := range distinct {
			if equal(known.kernel, l.kernel) {
				number = n
			}
		}
		if number == len(distinct) {
			distinct = append(distinct, l)
		}
		which, first = append(which, number), append(first, start)
	}
	return distinct, which, first
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// newGather plans the gather from in channels of rows.in x columns.in to out channels of rows.out x columns.out, for a
// path with vectors of so many values.
func newGather(vector, in, out int, rows, columns axis) *gather {
	g := &gather{
		in:              in * rows.in * columns.in * Lanes,
		out:             out * rows.out * columns.out * Lanes,
		inChannels:      in,
		outChannels:     out,
		outPlane:        rows.out * columns.out * Lanes,
		outRow:          columns.out * Lanes,
		kernel:          rows.kernel * columns.kernel,
		kernelWidth:     columns.kernel,
		weightsOutFirst: !rows.transposed,
	}
	width, padded := g.width(), (out+block-1)/block*block
	g.bias = Values(padded)
	if width == 1 {
		padded = 1
	}
	g.weights = Values(padded * in * g.kernel)

	rowLines, rowOf, rowStart := rows.lines()
	columnLines, columnOf, columnStart := columns.lines()
	taps := make([][]tap, len(rowLines)*len(columnLines))
	for r, rowLine := range rowLines {
		for c, columnLine := range columnLines {
			list := make([]tap, 0, in*len(rowLine.kernel)*len(columnLine.kernel))
			for channel := range in {
				for i, kr := range rowLine.kernel {
					for j, kc := range columnLine.kernel {
						list = append(list, tap{
							x: int32(((channel*rows.in+rowLine.offset[i])*columns.in + columnLine.offset[j]) * Lanes),
							w: int32(((channel*rows.kernel+kr)*columns.kernel + kc) * width),
						})
					}
				}
			}
			taps[r*len(columnLines)+c] = list
		}
	}
	band := bandRows(in, out, rows, columns)
	squares := out == 1 && rows.pairs() && columns.pairs()
	for top := 0; top < rows.out; top += band {
		classes := make([]class, 2*len(taps)) // The second half are squares.
		for row := top; row < min(top+band, rows.out); row++ {
			for column := range columns.out {
				number := rowOf[row]*len(columnLines) + columnOf[column]
				c := &classes[number]
				if squares {
					above, below := rows.pair(row)
					left, right := columns.pair(column)
					if (above || below) && (left || right) {
						if below || right {
							continue // The square has its position from another.
						}
						c = &classes[len(taps)+number]
						c.squares = true
					}
				}
				c.taps = taps[number]
				for lane := 0; lane < Lanes; lane += vector {
					c.positions = append(c.positions, position{
						x: int32((rowStart[row]*columns.in+columnStart[column])*Lanes + lane),
						y: int32((row*columns.out+column)*Lanes + lane),
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
	if out == 1 {
		for i := range g.classes {
			c := &g.classes[i]
			step := singleStep
			if c.squares {
				step = squareStep
			}
			for len(c.positions)%step != 0 {
				c.positions = append(c.positions, c.positions[len(c.positions)-1])
			}
		}
	}
	return g
}

// bandRows is how many rows of output a band has. The classes take turns, band by band.
func bandRows(in, out int, rows, columns axis) int {
	if out == 1 {
		return singleRows
	}
	most := bandBytes / (4 * Lanes * in * columns.in) // Rows of input.
	if most >= rows.in || most < rows.reach(1) {
		// Nothing is to be gained, or nothing to be had: then the weights are read once only.
		return rows.out
	}
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
		for i := range g.inChannels {
			from := weights[(i*g.outChannels+first)*g.kernel:]
			to := packed[i*g.kernel*width:]
			if g.kernel == 1 && channels == block {
				*(*[block]float32)(to) = [block]float32(from)
				continue
			}
			for k := range g.kernel {
				for o := range channels {
					to[k*width+o] = from[o*g.kernel+k]
				}
			}
		}
	}
}
