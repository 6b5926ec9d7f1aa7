//go:build !purego

package kernel

//go:generate go -C generate run . -out ../kernels_amd64.s -stubs ../stubs_amd64.go -pkg kernel

import "golang.org/x/sys/cpu"

// vectorPaths are the paths in assembly that this processor and its operating system support.
func vectorPaths() []*path {
	var paths []*path
	hasAVX2 := cpu.X86.HasAVX2 && cpu.X86.HasFMA
	if hasAVX2 && cpu.X86.HasAVX512F {
		paths = append(paths, &avx512Path)
	}
	if hasAVX2 {
		paths = append(paths, &avx2Path)
	}
	return paths
}

var (
	avx2Path = path{
		name:                        "avx2",
		vector:                      8,
		together:                    true,
		gather:                      avx2Layers.gather,
		outerByLane:                 avx2Layers.outerByLane,
		outerByChannel:              avx2Layers.outerByChannel,
		outerLinear:                 avx2Layers.outerLinear,
		findSubnormals:              findSubnormals,
		balance:                     balance,
		transpose:                   transposeVector,
		copyBlocks:                  copyBlocksVector,
		sumPositions:                sumPositionsVector,
		sumLanes:                    sumLanesVector,
		sigmoid:                     sigmoidVector,
		exp:                         func(y, x []float32) { expAVX2(&y[0], &x[0], len(x)/8) },
		reluBackward:                reluBackwardVector,
		sigmoidBackward:             sigmoidBackwardVector,
		addScaled:                   addScaledVector,
		normal:                      normalVector,
		squaredError:                squaredErrorVector,
		squaredErrorBackward:        squaredErrorBackwardVector,
		sigmoidSquaredErrorBackward: sigmoidSquaredErrorBackwardVector,
		adam:                        adamVector,
		fillTile:                    fillTileVector,
		fillRows:                    fillRowsVector,
		subtractLargest:             func(y, x []float32) { subtractLargestAVX2(&y[0], &x[0], len(x)/Lanes) },
		subtractLogarithm: func(y, exponentials []float32) {
			if !subtractLogarithmAVX2(&y[0], &exponentials[0], len(y)/Lanes) {
				subtractLogarithmPortable(y, exponentials)
			}
		},
		logSoftmaxBackward: func(dx, dy []float32) { logSoftmaxBackwardAVX2(&dx[0], &dy[0], len(dx)/Lanes) },
		mostProbable: func(classes *[Lanes]float32, x []float32) {
			mostProbableAVX2(&classes[0], &x[0], len(x)/Lanes)
		},
		peak: func(rounds int) int { peakAVX2(rounds); return rounds * 24 * 8 },
	}
	avx512Path = widen(avx2Path)
)

// widen returns the AVX-512 path, which differs from the AVX2 path where it pays.
func widen(p path) path {
	p.name = "avx512"
	p.vector = 16
	p.gather = avx512Layers.gather
	p.outerByLane = avx512Layers.outerByLane
	p.outerByChannel = avx512Layers.outerByChannel
	p.outerLinear = avx512Layers.outerLinear
	p.sumPositions = sumPositionsWide
	p.sigmoid = sigmoidWide
	p.addScaled = addScaledWide
	p.squaredError = squaredErrorWide
	p.sigmoidSquaredErrorBackward = sigmoidSquaredErrorBackwardWide
	p.exp = func(y, x []float32) { expAVX512(&y[0], &x[0], len(x)/16) }
	p.peak = func(rounds int) int { peakAVX512(rounds); return rounds * 24 * 16 }
	return p
}
