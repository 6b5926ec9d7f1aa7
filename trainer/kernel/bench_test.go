//go:build !race

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// layer is a shape of a network, with what follows it.
type layer struct {
	Shape
	activation Activation
}

// autoencoder is the paper's network (latent dimension 16).
var autoencoder = []layer{
	{Shape{1, 28, 28, 8, 3, 3, 2, 1, 0, 0, false}, ReLU},
	{Shape{8, 14, 14, 16, 3, 3, 2, 1, 0, 0, false}, ReLU},
	{Shape{16, 7, 7, 32, 3, 3, 2, 0, 0, 0, false}, ReLU},
	{Linear(288, 64), ReLU},
	{Linear(64, 16), None},
	{Linear(16, 64), ReLU},
	{Linear(64, 288), ReLU},
	{Shape{32, 3, 3, 16, 3, 3, 2, 0, 0, 0, true}, ReLU},
	{Shape{16, 7, 7, 8, 3, 3, 2, 1, 1, 1, true}, ReLU},
	{Shape{8, 14, 14, 1, 3, 3, 2, 1, 1, 1, true}, Sigmoid},
}

// variational is the paper's variational network (latent dimension 16).
var variational = []layer{
	{Shape{1, 28, 28, 64, 4, 4, 2, 1, 0, 0, false}, ReLU},
	{Shape{64, 14, 14, 128, 4, 4, 2, 1, 0, 0, false}, ReLU},
	{Linear(6272, 16), None},
	{Linear(16, 6272), ReLU},
	{Shape{128, 7, 7, 64, 4, 4, 2, 1, 0, 0, true}, ReLU},
	{Shape{64, 14, 14, 1, 4, 4, 2, 1, 0, 0, true}, Sigmoid},
}

// classifier is the paper's on codes, for ten classes.
var classifier = []layer{
	{Linear(16, 64), ReLU},
	{Linear(64, 10), None},
}

// executed is the part of a shape's FLOPs that is done: taps on padding are skipped.
func executed(s Shape) int {
	rows, columns := s.axes()
	taps := func(a axis) (count int) {
		for i := range a.out {
			for k := range a.kernel {
				if _, ok := a.meet(i, k); ok {
					count++
				}
			}
		}
		return count
	}
	return 2 * s.InChannels * s.OutChannels * taps(rows) * taps(columns)
}

// measure runs a benchmark that costs so many floating point operations per iteration, by the usual count and without
// what padding saves. It reports the mean rate, and its share of the peak that was measured before and after; and the
// share that the fastest iteration reached, by either count, which is what holds on a machine that others use.
func measure(b *testing.B, flops, executed int, run func()) {
	peak := Peak()
	best := time.Duration(math.MaxInt64)
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		run()
		best = min(best, time.Since(start))
	}
	rate := float64(flops) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate/1e9, "GFLOP/s")
	peak = max(peak, Peak())
	if peak > 0 {
		b.ReportMetric(100*rate/peak, "%peak")
		b.ReportMetric(100*float64(flops)/best.Seconds()/peak, "best-%peak")
		b.ReportMetric(100*float64(executed)/best.Seconds()/peak, "best-executed-%peak")
	}
}

// onFastPaths runs a benchmark on each path but the portable one.
func onFastPaths(b *testing.B, run func(b *testing.B)) {
	previous := Path()
	defer func() { _ = SetPath(previous) }()
	for _, name := range Paths()[:len(Paths())-1] {
		b.Run(name, func(b *testing.B) {
			if err := SetPath(name); err != nil {
				b.Fatal(err)
			}
			run(b)
		})
	}
}

// tile is a layer with data to run on.
type tile struct {
	*Conv
	activation       Activation
	x, y, dx, dy     []float32
	w, b, dw, db     []float32
	firstM, secondM  []float32
	firstMB, secondB []float32
}

func newTile(b *testing.B, l layer) *tile {
	r := rand.New(rand.NewPCG(1, 2))
	conv, err := NewConv(l.Shape)
	if err != nil {
		b.Fatal(err)
	}
	t := &tile{
		Conv: conv, activation: l.activation,
		x: random(r, l.InSize()), y: random(r, l.OutSize()), dx: random(r, l.InSize()), dy: random(r, l.OutSize()),
		w: random(r, l.Weights()), b: random(r, l.OutChannels),
	}
	for i := range t.w {
		t.w[i] *= 0.05
	}
	t.dw, t.firstM, t.secondM = make([]float32, len(t.w)), make([]float32, len(t.w)), make([]float32, len(t.w))
	t.db, t.firstMB, t.secondB = make([]float32, len(t.b)), make([]float32, len(t.b)), make([]float32, len(t.b))
	conv.SetWeights(t.w, t.b)
	return t
}

// smallLayer is how many operations an image has in layers of which an iteration does a batch's tiles, rather than one:
// a tile takes less than a microsecond, and to look at the clock a twentieth of one.
const smallLayer = 8 << 10

// BenchmarkLayer has the passes of each layer, and all that a training step needs together. Nobody needs the gradient
// of the images.
func BenchmarkLayer(b *testing.B) {
	for _, network := range []struct {
		name   string
		layers []layer
	}{{"autoencoder", autoencoder}, {"variational", variational}, {"classifier", classifier}} {
		for i, l := range network.layers {
			tiles := 1
			if l.FLOPs() < smallLayer {
				tiles = 16
			}
			run := func(pass string, passes int, run func(t *tile)) {
				b.Run(fmt.Sprintf("%s/%s/%s", network.name, l, pass), func(b *testing.B) {
					onFastPaths(b, func(b *testing.B) {
						t := newTile(b, l)
						measure(b, tiles*passes*Lanes*l.FLOPs(), tiles*passes*Lanes*executed(l.Shape), func() {
							for range tiles {
								run(t)
							}
						})
					})
				})
			}
			forward := func(t *tile) { t.Forward(t.y, t.x, t.activation) }
			backwardInput := func(t *tile) { t.BackwardInput(t.dx, t.dy) }
			backwardWeights := func(t *tile) { t.BackwardWeights(t.dy, t.x) }
			run("forward", 1, forward)
			run("backward-weights", 1, backwardWeights)
			if i == 0 {
				run("all", 2, func(t *tile) { forward(t); backwardWeights(t) })
				continue
			}
			run("backward-input", 1, backwardInput)
			run("all", 3, func(t *tile) { forward(t); backwardWeights(t); backwardInput(t) })
		}
	}
}

// BenchmarkStep is all kernels of one training step on a batch of 256: filling tiles, forward, loss, backward, the
// gradients' reduction, Adam and the packing of weights.
func BenchmarkStep(b *testing.B) {
	for _, network := range []struct {
		name   string
		layers []layer
		tiles  int
	}{{"autoencoder", autoencoder, 16}, {"variational", variational, 2}} {
		b.Run(network.name, func(b *testing.B) {
			onFastPaths(b, func(b *testing.B) {
				flops, done := 0, 0
				var tiles []*tile
				for i, l := range network.layers {
					passes := 3
					if i == 0 {
						passes = 2 // Nobody needs the gradient of the images.
					}
					flops += passes * l.FLOPs()
					done += passes * executed(l.Shape)
					t := newTile(b, l)
					if i > 0 {
						t.x, t.dx = tiles[i-1].y, tiles[i-1].dy
					}
					tiles = append(tiles, t)
				}
				const pixels = 28 * 28
				images := make([]byte, 60_000*pixels)
				r := rand.New(rand.NewPCG(1, 1))
				for i := range images {
					images[i] = byte(r.Uint32())
				}
				var indices [Lanes]uint32
				first, last := tiles[0], tiles[len(tiles)-1]
				step := 0
				batch := network.tiles * Lanes
				measure(b, batch*flops, batch*done, func() {
					step++
					for range network.tiles {
						for i := range indices {
							indices[i] = r.Uint32N(60_000)
						}
						FillTile(first.x, images, pixels, indices[:])
						for _, t := range tiles {
							t.Forward(t.y, t.x, t.activation)
						}
						SquaredError(last.y, first.x, Lanes)
						SigmoidSquaredErrorBackward(last.dy, last.y, first.x, Lanes, 1e-5)
						for i := len(tiles) - 1; i >= 0; i-- {
							t := tiles[i]
							t.BackwardWeights(t.dy, t.x)
							switch {
							case i == 0:
							case tiles[i-1].activation == ReLU:
								t.BackwardInputOfReLU(t.dx, t.dy, t.x)
							default:
								t.BackwardInput(t.dx, t.dy)
							}
						}
					}
					adam := AdamStep{LearningRate: 1e-3, WeightDecay: 1e-5, Step: step}
					for _, t := range tiles {
						t.Gradient(t.dw, t.db)
						t.ZeroGrad()
						Adam(t.w, t.dw, t.firstM, t.secondM, adam)
						Adam(t.b, t.db, t.firstMB, t.secondB, adam)
						t.SetWeights(t.w, t.b)
					}
				})
				count := float64(batch * b.N)
				b.ReportMetric(count/b.Elapsed().Seconds(), "images/s")
			})
		})
	}
}
