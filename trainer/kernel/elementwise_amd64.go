//go:build !purego

package kernel

// What takes little of a step's time mostly exists in AVX2 only, which processors with AVX-512 have as well. Each
// function here leaves what does not fill a vector to its portable form.

func transposeVector(dst, src []float32, rows, columns, dstRow int) {
	const step = 8
	wholeRows, wholeColumns := rows/step*step, columns/step*step
	for from := 0; from < wholeColumns; from += callValues / step {
		count := min(callValues/step, wholeColumns-from)
		for row := 0; row < wholeRows; {
			groups := min((wholeRows-row)/step, callValues/step/count)
			transposeAVX2(&dst[from*dstRow+row], &src[row*columns+from], count/step, groups, dstRow*4, columns*4)
			row += step * groups
		}
	}
	for column := wholeColumns; column < columns; column++ {
		for row := range wholeRows {
			dst[column*dstRow+row] = src[row*columns+column]
		}
	}
	if wholeRows < rows {
		transposePortable(dst[wholeRows:], src[wholeRows*columns:], rows-wholeRows, columns, dstRow)
	}
}

func copyBlocksVector(dst, src []float32, rows, srcRow int) {
	for from := 0; from < rows; from += callValues / block {
		copyBlocksAVX2(&dst[from*block], &src[from*srcRow], min(callValues/block, rows-from), srcRow*4)
	}
}

// callPositions bounds how many positions, of all channels, a call sums, as callTaps does. One channel is always done
// in one call.
const callPositions = 16 << 10

func sumPositionsVector(sums, tile []float32) {
	if len(tile) == len(sums) {
		// There is one position. The product with 1 is the number itself, and no sum is a negative zero.
		addScaledVector(sums, sums, tile, 1)
		return
	}
	channels := len(sums) / Lanes
	plane := len(tile) / channels
	step := max(1, callPositions*Lanes/plane)
	for first := 0; first < channels; first += step {
		sumPositionsAVX2(&sums[first*Lanes], &tile[first*plane], min(step, channels-first), plane/Lanes)
	}
}

// sumPositionsWide differs where there is one position: what is loaded and stored is all that it takes.
func sumPositionsWide(sums, tile []float32) {
	if len(tile) != len(sums) {
		sumPositionsVector(sums, tile)
		return
	}
	addScaledWide(sums, sums, tile, 1)
}

func sumLanesVector(dst, src []float32) {
	sumLanesAVX2(&dst[0], &src[0], len(dst))
}

// callValues bounds the work of one call of what is done value by value, as callTaps does.
const callValues = 32 << 10

func sigmoidVector(y []float32) {
	for ; len(y) > 0; y = y[min(len(y), callValues):] {
		sigmoidAVX2(&y[0], min(len(y), callValues)/8)
	}
}

func sigmoidWide(y []float32) {
	for ; len(y) > 0; y = y[min(len(y), callValues):] {
		sigmoidAVX512(&y[0], min(len(y), callValues)/16)
	}
}

func reluBackwardVector(dx, dy, y []float32) {
	for from := 0; from < len(y); from += callValues {
		reluBackwardAVX2(&dx[from], &dy[from], &y[from], min(callValues, len(y)-from)/8)
	}
}

func sigmoidBackwardVector(dx, dy, y []float32) {
	for from := 0; from < len(y); from += callValues {
		sigmoidBackwardAVX2(&dx[from], &dy[from], &y[from], min(callValues, len(y)-from)/8)
	}
}

func addScaledVector(dst, x, y []float32, scale float32) {
	for from := 0; from < len(x); from += callValues {
		addScaledAVX2(&dst[from], &x[from], &y[from], scale, min(callValues, len(x)-from)/8)
	}
}

func addScaledWide(dst, x, y []float32, scale float32) {
	for from := 0; from < len(x); from += callValues {
		addScaledAVX512(&dst[from], &x[from], &y[from], scale, min(callValues, len(x)-from)/16)
	}
}

func normalVector(dst []float32, state *NormalState, table *[halfNormals]float32) {
	whole := len(dst) / (2 * Lanes) * (2 * Lanes)
	if whole > 0 {
		normalAVX2(&dst[0], &state[0][0], &table[0], whole/(2*Lanes))
	}
	if whole < len(dst) {
		normalPortable(dst[whole:], state, table)
	}
}

func squaredErrorVector(y, target []float32, mask *[Lanes]uint32) (sums [Lanes]float64) {
	for from := 0; from < len(y); from += callValues {
		squaredErrorAVX2(&sums[0], &y[from], &target[from], &mask[0], min(callValues, len(y)-from)/Lanes)
	}
	return sums
}

func squaredErrorWide(y, target []float32, mask *[Lanes]uint32) (sums [Lanes]float64) {
	for from := 0; from < len(y); from += callValues {
		squaredErrorAVX512(&sums[0], &y[from], &target[from], &mask[0], min(callValues, len(y)-from)/Lanes)
	}
	return sums
}

func sigmoidSquaredErrorBackwardVector(dx, y, target []float32, mask *[Lanes]uint32, scale float32) {
	for from := 0; from < len(y); from += callValues {
		count := min(callValues, len(y)-from)
		sigmoidSquaredErrorBackwardAVX2(&dx[from], &y[from], &target[from], &mask[0], scale, count/Lanes)
	}
}

func sigmoidSquaredErrorBackwardWide(dx, y, target []float32, mask *[Lanes]uint32, scale float32) {
	if !slowSubnormals() {
		sigmoidSquaredErrorBackwardVector(dx, y, target, mask, scale)
		return
	}
	for from := 0; from < len(y); from += callValues {
		count := min(callValues, len(y)-from)
		sigmoidSquaredErrorBackwardAVX512(&dx[from], &y[from], &target[from], &mask[0], scale, count/Lanes)
	}
}

func squaredErrorBackwardVector(dy, y, target []float32, mask *[Lanes]uint32, scale float32) {
	for from := 0; from < len(y); from += callValues {
		count := min(callValues, len(y)-from)
		squaredErrorBackwardAVX2(&dy[from], &y[from], &target[from], &mask[0], scale, count/Lanes)
	}
}

func adamVector(w, g, m, v []float32, c adamConstants) {
	whole := len(w) / 8 * 8
	for at := 0; at < whole; {
		at += 8 * adamAVX2(&w[at], &g[at], &m[at], &v[at], c.weightDecay, c.moment, c.beta2, c.square, c.correction,
			c.epsilon, c.rate, (whole-at)/8)
		if at == whole {
			break
		}
		if c.usual() {
			adamTinyAVX2(&w[at], &g[at], &m[at], &v[at], c.weightDecay, c.moment, c.beta2, c.square, c.correction,
				c.epsilon, c.rate, 1)
		} else {
			adamPortable(w[at:at+8], g[at:at+8], m[at:at+8], v[at:at+8], c)
		}
		at += 8
	}
	adamPortable(w[whole:], g[whole:], m[whole:], v[whole:], c)
}

// usual says that adamTinyAVX2 takes these constants.
func (c *adamConstants) usual() bool {
	rate := -c.rate
	return c.weightDecay >= 0 && c.weightDecay <= 1 && rate >= 0x1p-60 && rate <= 1<<10
}

func fillTileVector(dst []float32, pixels []byte, size int, indices []uint32) {
	const step = 16
	whole := size / step * step
	if whole < size || len(indices) == 0 {
		fillTilePortable(dst, pixels, size, indices)
	}
	if whole == 0 || len(indices) == 0 {
		return
	}
	// Lanes without an image take the first one's until they are cleared.
	for from := 0; from < whole; from += callValues / Lanes {
		var images [Lanes]*byte
		for lane := range images {
			image := indices[0]
			if lane < len(indices) {
				image = indices[lane]
			}
			images[lane] = &pixels[int(image)*size+from]
		}
		for lane := 0; lane < Lanes; lane += 8 {
			fillTileAVX2(&dst[from*Lanes+lane], &images[lane], min(callValues/Lanes, whole-from)/step)
		}
	}
	for lane := len(indices); lane < Lanes; lane++ {
		for pixel := range whole {
			dst[pixel*Lanes+lane] = 0
		}
	}
}

func fillRowsVector(dst, values []float32, size int, indices []uint32) {
	const step = 8
	if size%step != 0 || len(indices) < Lanes {
		fillRowsPortable(dst, values, size, indices)
		return
	}
	var rows [Lanes]*float32
	for lane := range rows {
		rows[lane] = &values[int(indices[lane])*size]
	}
	for lane := 0; lane < Lanes; lane += 8 {
		fillRowsAVX2(&dst[lane], &rows[lane], size/step)
	}
}
