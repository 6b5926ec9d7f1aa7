package kernel

import (
	"fmt"
	"math"
)

// ReLUBackward computes the gradient of a ReLU's input from that of its output: dx[i] = dy[i] where y[i] > 0 or y[i] is
// not a number, else 0. dx may be dy.
func ReLUBackward(dx, dy, y []float32) {
	check("dx", dx, len(y))
	check("dy", dy, len(y))
	checkTile("y", y)
	active.Load().reluBackward(dx, dy, y)
}

// SigmoidBackward computes the gradient of a sigmoid's input from that of its output: dx[i] = dy[i] * (y[i] *
// (1-y[i])). dx may be dy.
func SigmoidBackward(dx, dy, y []float32) {
	check("dx", dx, len(y))
	check("dy", dy, len(y))
	checkTile("y", y)
	active.Load().sigmoidBackward(dx, dy, y)
}

// AddScaled computes dst[i] = x[i] + scale * y[i], with the product rounded. dst may be x or y.
func AddScaled(dst, x, y []float32, scale float32) {
	check("dst", dst, len(x))
	check("y", y, len(x))
	checkTile("x", x)
	active.Load().addScaled(dst, x, y, scale)
}

// SquaredError returns the sum of (y-target)^2 over the first lanes images of a tile.
func SquaredError(y, target []float32, lanes int) float64 {
	checkTarget(y, target, lanes)
	sums := active.Load().squaredError(y, target, &laneMasks[lanes])
	for half := Lanes / 2; half > 0; half /= 2 {
		for i := range half {
			sums[i] += sums[i+half]
		}
	}
	return sums[0]
}

// SquaredErrorBackward sets dy = scale * (y-target) in the first lanes of a tile, and zero in the others. For the
// gradient of the mean over all pixels of a batch, scale is 2 / (images * pixels). dy may be y.
func SquaredErrorBackward(dy, y, target []float32, lanes int, scale float32) {
	check("dy", dy, len(y))
	checkTarget(y, target, lanes)
	active.Load().squaredErrorBackward(dy, y, target, &laneMasks[lanes], scale)
}

// SigmoidSquaredErrorBackward is SquaredErrorBackward for an output y that a sigmoid has made, and that sigmoid's
// SigmoidBackward after it. dx must not be y or target.
func SigmoidSquaredErrorBackward(dx, y, target []float32, lanes int, scale float32) {
	check("dx", dx, len(y))
	checkTarget(y, target, lanes)
	active.Load().sigmoidSquaredErrorBackward(dx, y, target, &laneMasks[lanes], scale)
}

func checkTarget(y, target []float32, lanes int) {
	check("target", target, len(y))
	checkTile("y", y)
	if lanes < 1 || lanes > Lanes {
		panic(fmt.Sprintf("kernel: %d lanes, want 1 to %d", lanes, Lanes))
	}
}

// laneMasks[n] has all bits set in the first n lanes.
var laneMasks = func() (masks [Lanes + 1][Lanes]uint32) {
	for n := range masks {
		for lane := range n {
			masks[n][lane] = math.MaxUint32
		}
	}
	return masks
}()

// AdamStep holds the numbers of one step of PyTorch's Adam with beta 0.9, 0.999 and epsilon 1e-8.
type AdamStep struct {
	LearningRate float64
	// WeightDecay times the weight is added to its gradient.
	WeightDecay float64
	// Step counts from 1.
	Step int
}

const (
	beta1   = 0.9
	beta2   = 0.999
	epsilon = 1e-8
)

// adamConstants are an AdamStep's numbers, rounded to the type that they are used in.
type adamConstants struct {
	weightDecay float32
	moment      float32 // 1 - beta1
	beta2       float32
	square      float32 // 1 - beta2
	correction  float32 // sqrt(1 - beta2^step)
	epsilon     float32
	rate        float32 // -learning rate / (1 - beta1^step)
}

// Adam does one step with weights w, their gradient g and the moments m and v (zeros before the first step):
//
//	g' = g + weight decay * w
//	m  = m + (1 - beta1) * (g' - m)
//	v  = beta2 * v + ((1 - beta2) * g') * g'
//	w  = w - learning rate / (1 - beta1^step) * (m / (sqrt(v) / sqrt(1 - beta2^step) + epsilon))
//
// Constants are computed in float64; the lines above are float32 with fused multiply-adds where a product is added to.
func Adam(w, g, m, v []float32, step AdamStep) {
	check("g", g, len(w))
	check("m", m, len(w))
	check("v", v, len(w))
	if step.Step < 1 {
		panic(fmt.Sprintf("kernel: Adam's step is %d, want 1 or more", step.Step))
	}
	t := float64(step.Step)
	active.Load().adam(w, g, m, v, adamConstants{
		weightDecay: float32(step.WeightDecay),
		moment:      float32(1 - beta1),
		beta2:       float32(beta2),
		square:      float32(1 - beta2),
		correction:  float32(math.Sqrt(1 - math.Pow(beta2, t))),
		epsilon:     float32(epsilon),
		rate:        float32(-step.LearningRate / (1 - math.Pow(beta1, t))),
	})
}

// FillTile converts up to 16 images of size bytes each, those with the given indices in pixels, into the lanes of a
// tile: dst[p][lane] = pixels[indices[lane]][p] / 255. Lanes without an image become zero.
func FillTile(dst []float32, pixels []byte, size int, indices []uint32) {
	if size < 1 {
		panic(fmt.Sprintf("kernel: images of %d pixels", size))
	}
	check("dst", dst, size*Lanes)
	if len(indices) > Lanes {
		panic(fmt.Sprintf("kernel: %d images for a tile of %d", len(indices), Lanes))
	}
	count := len(pixels) / size
	for _, index := range indices {
		if int(index) >= count {
			panic(fmt.Sprintf("kernel: image %d of %d", index, count))
		}
	}
	active.Load().fillTile(dst, pixels, size, indices)
}

// FillRows puts up to 16 rows of size values each, those with the given indices in values, into the lanes of a tile:
// dst[i][lane] = values[indices[lane]][i]. Lanes without a row become zero.
func FillRows(dst, values []float32, size int, indices []uint32) {
	if size < 1 {
		panic(fmt.Sprintf("kernel: rows of %d values", size))
	}
	check("dst", dst, size*Lanes)
	if len(indices) > Lanes {
		panic(fmt.Sprintf("kernel: %d rows for a tile of %d", len(indices), Lanes))
	}
	count := len(values) / size
	for _, index := range indices {
		if int(index) >= count {
			panic(fmt.Sprintf("kernel: row %d of %d", index, count))
		}
	}
	active.Load().fillRows(dst, values, size, indices)
}

// checkTile panics unless a slice is made of whole vectors of lanes.
func checkTile(name string, slice []float32) {
	if len(slice)%Lanes != 0 {
		panic(fmt.Sprintf("kernel: %s has %d values, want a multiple of %d", name, len(slice), Lanes))
	}
}
