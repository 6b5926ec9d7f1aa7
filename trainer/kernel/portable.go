package kernel

import "math"

// portable is the path of every processor, and the reference of the others.
var portable = path{
	name:                        "portable",
	vector:                      Lanes,
	gather:                      gatherPortable,
	transpose:                   transposePortable,
	copyBlocks:                  copyBlocksPortable,
	outerByLane:                 outerByLanePortable,
	outerByChannel:              outerByChannelPortable,
	sumPositions:                sumPositionsPortable,
	sumLanes:                    sumLanesPortable,
	sigmoid:                     sigmoidPortable,
	exp:                         expPortable,
	reluBackward:                reluBackwardPortable,
	sigmoidBackward:             sigmoidBackwardPortable,
	addScaled:                   addScaledPortable,
	normal:                      normalPortable,
	squaredError:                squaredErrorPortable,
	squaredErrorBackward:        squaredErrorBackwardPortable,
	sigmoidSquaredErrorBackward: sigmoidSquaredErrorBackwardPortable,
	adam:                        adamPortable,
	fillTile:                    fillTilePortable,
	fillRows:                    fillRowsPortable,

	subtractLargest:    subtractLargestPortable,
	subtractLogarithm:  subtractLogarithmPortable,
	logSoftmaxBackward: logSoftmaxBackwardPortable,
	mostProbable:       mostProbablePortable,
}

func gatherPortable(g *gather, _ *scratch, y, x, relu []float32, bound float32) {
	width := g.width()
	for o := range g.outChannels {
		packed := g.weights[o/width*width*g.inChannels*g.kernel+o%width:]
		out := y[o*g.outPlane:][:g.outPlane]
		for c := range g.classes {
			class := &g.classes[c]
			for _, at := range class.positions {
				y := (*[Lanes]float32)(out[at.y:])
				sumTaps(y, g.bias[o], packed, x, at.x, class.taps)
				for lane, sum := range y {
					if bound > sum { // False for a NaN, which stays.
						y[lane] = bound
					}
				}
			}
		}
	}
	if relu != nil {
		reluBackwardPortable(y, y, relu)
	}
}

// transposePortable: dst[column*dstRow + row] = src[row*columns + column].
func transposePortable(dst, src []float32, rows, columns, dstRow int) {
	for row := range rows {
		for column, value := range src[row*columns:][:columns] {
			dst[column*dstRow+row] = value
		}
	}
}

// copyBlocksPortable: dst[row*block + i] = src[row*srcRow + i] for i < block.
func copyBlocksPortable(dst, src []float32, rows, srcRow int) {
	for row := range rows {
		*(*[block]float32)(dst[row*block:]) = [block]float32(src[row*srcRow:])
	}
}

func outerByLanePortable(o *outer, chosen, other []float32) {
	for _, step := range o.steps {
		for column := range step.columns {
			for b := range o.other.channels {
				with := other[b*o.other.plane()+column*Lanes:]
				for a := range o.chosen.channels {
					total := o.totals[(((step.kernel+column)*o.other.channels+b)*o.chosen.channels+a)*Lanes:]
					sumPairs((*[Lanes]float32)(total), chosen[a*o.chosen.plane():], with, step.pairs)
				}
			}
		}
	}
}

// outerByChannelPortable has one block of all channels.
func outerByChannelPortable(o *outer, chosen, other []float32) {
	transposePortable(o.transposed, chosen, o.chosen.channels, o.chosen.plane(), o.chosen.padded)
	for _, step := range o.steps {
		for b := range o.other.channels {
			with := other[b*o.other.plane():]
			for a := 0; a < o.chosen.padded; a += Lanes {
				total := o.totals[(step.kernel*o.other.channels+b)*o.chosen.padded+a:]
				sumLanePairs((*[Lanes]float32)(total), o.transposed[a:], o.chosen.padded, with, step.pairs)
			}
		}
	}
}

// sumPositionsPortable: sums[channel][lane] += the channel's vectors, as (0 + 4 + 8 ...) and three more such sums,
// starting from vectors 1, 2 and 3, which are added as (s0 + s1) + (s2 + s3).
func sumPositionsPortable(sums, tile []float32) {
	channels := len(sums) / Lanes
	plane := len(tile) / channels
	for channel := range channels {
		var parts [4][Lanes]float32
		values := tile[channel*plane:][:plane]
		for at := 0; at < plane; at += Lanes {
			part := &parts[at/Lanes%4]
			for lane := range part {
				part[lane] += values[at+lane]
			}
		}
		for lane := range Lanes {
			sums[channel*Lanes+lane] += (parts[0][lane] + parts[1][lane]) + (parts[2][lane] + parts[3][lane])
		}
	}
}

// sumLanesPortable: dst[i] = the sum of src[i][lane]: lane n + lane n+8, then n + n+4, n + n+2, n + n+1.
func sumLanesPortable(dst, src []float32) {
	for i := range dst {
		s := (*[Lanes]float32)(src[i*Lanes:])
		a0, a1, a2, a3 := s[0]+s[8], s[1]+s[9], s[2]+s[10], s[3]+s[11]
		a4, a5, a6, a7 := s[4]+s[12], s[5]+s[13], s[6]+s[14], s[7]+s[15]
		dst[i] = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
	}
}

// The constants of exp: 1.5 * 2^23, which rounds to an integer when added; log2(e); ln(2) in two parts, the first with
// few enough bits that its products with integers are exact; and a minimax polynomial for (exp(r) - 1 - r) / r^2.
const (
	expRound  = 12582912
	expLog2e  = 1.44269504
	expLn2Hi  = 0.693359375
	expLn2Lo  = -2.12194440e-4
	expLimit  = 104
	expCoeff0 = 5.0000001201e-1
	expCoeff1 = 1.6666665459e-1
	expCoeff2 = 4.1665795894e-2
	expCoeff3 = 8.3334519073e-3
	expCoeff4 = 1.3981999507e-3
	expCoeff5 = 1.9875691500e-4
)

// sigmoidPortable: y[i] = 1 / (1 + exp(-y[i])).
func sigmoidPortable(y []float32) {
	for i, value := range y {
		y[i] = 1 / (1 + exp(-value))
	}
}

// exp is accurate to about an ulp (polynomial and reduction of Cephes' expf). Beyond +-104 it is as at +-104: infinite
// or zero.
func exp(x float32) float32 {
	// Written so that a NaN passes.
	if x > expLimit {
		x = expLimit
	}
	if x < -expLimit {
		x = -expLimit
	}
	rounded := fma(x, expLog2e, expRound)
	n := int32(math.Float32bits(rounded)) - int32(math.Float32bits(expRound))
	whole := rounded - expRound
	r := fma(whole, -expLn2Hi, x)
	r = fma(whole, -expLn2Lo, r)
	p := fma(float32(expCoeff5), r, expCoeff4)
	p = fma(p, r, expCoeff3)
	p = fma(p, r, expCoeff2)
	p = fma(p, r, expCoeff1)
	p = fma(p, r, expCoeff0)
	p = fma(float32(p*r), r, r)
	p = float32(p + 1)
	// 2^n may lie outside float32's range of exponents; the two factors do not.
	half := n >> 1
	p = float32(p * math.Float32frombits(uint32(half+127)<<23))
	return float32(p * math.Float32frombits(uint32(n-half+127)<<23))
}

func expPortable(y, x []float32) {
	for i, value := range x {
		y[i] = exp(value)
	}
}

func reluBackwardPortable(dx, dy, y []float32) {
	for i, value := range y {
		gradient := dy[i]
		if value <= 0 {
			gradient = 0
		}
		dx[i] = gradient
	}
}

func sigmoidBackwardPortable(dx, dy, y []float32) {
	for i, value := range y {
		dx[i] = float32(dy[i] * float32(value*float32(1-value)))
	}
}

func addScaledPortable(dst, x, y []float32, scale float32) {
	for i, value := range x {
		dst[i] = value + float32(scale*y[i])
	}
}

func squaredErrorPortable(y, target []float32, mask *[Lanes]uint32) (sums [Lanes]float64) {
	for i, value := range y {
		wide := float64(math.Float32frombits(math.Float32bits(value-target[i]) & mask[i%Lanes]))
		sums[i%Lanes] += float64(wide * wide) // The product is exact.
	}
	return sums
}

func squaredErrorBackwardPortable(dy, y, target []float32, mask *[Lanes]uint32, scale float32) {
	for i, value := range y {
		difference := math.Float32frombits(math.Float32bits(value-target[i]) & mask[i%Lanes])
		dy[i] = float32(scale * difference)
	}
}

func sigmoidSquaredErrorBackwardPortable(dx, y, target []float32, mask *[Lanes]uint32, scale float32) {
	squaredErrorBackwardPortable(dx, y, target, mask, scale)
	sigmoidBackwardPortable(dx, dx, y)
}

func adamPortable(w, g, m, v []float32, c adamConstants) {
	for i := range w {
		gradient := fma(c.weightDecay, w[i], g[i])
		m[i] = fma(c.moment, gradient-m[i], m[i])
		v[i] = fma(float32(c.square*gradient), gradient, float32(c.beta2*v[i]))
		root := float32(math.Sqrt(float64(v[i])))
		w[i] = fma(c.rate, m[i]/(root/c.correction+c.epsilon), w[i])
	}
}

func fillTilePortable(dst []float32, pixels []byte, size int, indices []uint32) {
	if len(indices) < Lanes {
		clear(dst)
	}
	for lane, index := range indices {
		for pixel, value := range pixels[int(index)*size:][:size] {
			dst[pixel*Lanes+lane] = float32(value) / 255
		}
	}
}

func fillRowsPortable(dst, values []float32, size int, indices []uint32) {
	if len(indices) < Lanes {
		clear(dst)
	}
	for lane, index := range indices {
		for i, value := range values[int(index)*size:][:size] {
			dst[i*Lanes+lane] = value
		}
	}
}
