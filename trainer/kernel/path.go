package kernel

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// path is one form of all kernels. The functions trust their arguments, and take no pointers to local variables,
// which a call through a function value would move to the heap.
type path struct {
	name string
	// vector is the number of values in a vector: a position is done in Lanes/vector steps.
	vector int
	// together says that plans may put outputs of a single channel together (gather.squares), or weights of a single
	// channel (step.reached).
	together bool

	// gather sets y to zero where relu, if it is not nil, is not above 0. bound is minus infinity then.
	gather func(g *gather, s *scratch, y, x, relu []float32, bound float32)
	// findSubnormals looks at g's weights; nil if subnormal ones are like others.
	findSubnormals func(g *gather)
	// balance scales gradients and inputs so that products stay the same, unless no path has such plans.
	balance        func(f *faint, dy, x []float32) (scaled, inputs []float32)
	transpose      func(dst, src []float32, rows, columns, dstRow int)
	copyBlocks     func(dst, src []float32, rows, srcRow int)
	outerByLane    func(o *outer, chosen, other []float32)
	outerByChannel func(o *outer, chosen, other []float32)
	// outerLinear is for an o that is linear. Unless bias is nil, it adds other to it. A path may have none.
	outerLinear  func(o *outer, bias, chosen, other []float32)
	sumPositions func(sums, tile []float32)
	sumLanes     func(dst, src []float32)

	sigmoid                     func(y []float32)
	exp                         func(y, x []float32)
	reluBackward                func(dx, dy, y []float32)
	sigmoidBackward             func(dx, dy, y []float32)
	addScaled                   func(dst, x, y []float32, scale float32)
	normal                      func(dst []float32, state *NormalState, table *[halfNormals]float32)
	squaredError                func(y, target []float32, mask *[Lanes]uint32) [Lanes]float64
	squaredErrorBackward        func(dy, y, target []float32, mask *[Lanes]uint32, scale float32)
	sigmoidSquaredErrorBackward func(dx, y, target []float32, mask *[Lanes]uint32, scale float32)
	adam                        func(w, g, m, v []float32, c adamConstants)
	// peak runs a loop of multiply-adds on registers and returns how many it did; nil if there is none.
	peak func(rounds int) int

	subtractLargest    func(y, x []float32)
	subtractLogarithm  func(y, exponentials []float32)
	logSoftmaxBackward func(dx, dy []float32)
	mostProbable       func(classes *[Lanes]float32, x []float32)

	fillTile func(dst []float32, pixels []byte, size int, indices []uint32)
	fillRows func(dst, values []float32, size int, indices []uint32)
}

// paths are those that this processor can run, the best first. The last is always the portable one.
var paths = append(vectorPaths(), &portable)

// active is the path in use.
var active atomic.Pointer[path]

// best is the first of paths, for what these refer to.
var best *path

func init() {
	best = paths[0]
	active.Store(best)
}

// Paths lists the names of the paths that this processor can run, the best first: "avx512", "avx2", "portable".
func Paths() []string {
	var names []string
	for _, p := range paths {
		names = append(names, p.name)
	}
	return names
}

// Path names the path in use.
func Path() string { return active.Load().name }

// SetPath makes everything planned from now on use the named path, as do the functions that need no plan. The results
// are the same; it is for tests and benchmarks, and for users who want to see that for themselves.
func SetPath(name string) error {
	i := slices.IndexFunc(paths, func(p *path) bool { return p.name == name })
	if i < 0 {
		return fmt.Errorf("this processor has no path %q, only %s", name, strings.Join(Paths(), ", "))
	}
	active.Store(paths[i])
	return nil
}
