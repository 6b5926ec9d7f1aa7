package figure

import (
	"math"

	"gonum.org/v1/plot/vg"
)

// name is the name of a curve, which stands beside its line.
type name struct {
	width vg.Length
	line  []vg.Point
}

// Lengths of names of curves, in points.
const (
	nameHeight, nameDescent = 10, 2.5
	// nameGap is between a point and its name.
	nameGap = 5
)

// place returns where names stand: beside points of their own lines, within the room, off other names and lines as far
// as there is a place. It gives each name the best place that is left, and each again while the others stay. Which name
// comes first matters: it tries all of them, and takes the best of what comes out.
func place(names []name, room vg.Rectangle) []vg.Rectangle {
	candidates := make([][]candidate, len(names))
	for i := range names {
		candidates[i] = names[i].candidates()
		for k := range candidates[i] {
			c := &candidates[i][k]
			c.cost += outside(c.at, room)
			for other := range names {
				c.cost += 5 * crossed(c.at, names[other].line)
				if other != i && parts(names[other].line, c.of, middle(c.at)) {
					c.cost += 40
				}
			}
		}
	}
	least := math.Inf(1)
	var best []vg.Rectangle
	for first := range names {
		for _, step := range []int{1, len(names) - 1} {
			at, cost := arrange(candidates, first, step)
			if cost < least {
				least, best = cost, at
			}
		}
	}
	return best
}

// arrange chooses a candidate for each name, in the order first, first+step and so on. The cost is of all.
func arrange(candidates [][]candidate, first, step int) ([]vg.Rectangle, float64) {
	const rounds = 3
	at, costs := make([]vg.Rectangle, len(candidates)), make([]float64, len(candidates))
	stands := make([]bool, len(candidates))
	for n := range rounds * len(candidates) {
		i := (first + n*step) % len(candidates)
		costs[i] = math.Inf(1)
		for _, c := range candidates[i] {
			for k := range at {
				if k != i && stands[k] {
					c.cost += 10 * overlap(c.at, at[k])
				}
			}
			if c.cost < costs[i] {
				costs[i], at[i] = c.cost, c.at
			}
		}
		stands[i] = true
	}
	total := 0.0
	for _, cost := range costs {
		total += cost
	}
	return at, total
}

// candidate is a place for a name. It is the worse the farther it is from where a reader looks first.
type candidate struct {
	at vg.Rectangle
	// of is the point that it is beside.
	of   vg.Point
	cost float64
}

// candidates are places around all points of a line. The best is to the right of its end.
func (n name) candidates() (all []candidate) {
	for i, point := range n.line {
		fromEnd := float64(len(n.line) - 1 - i)
		for _, way := range []struct{ left, cost float64 }{
			{nameGap, 0}, {-float64(n.width) / 2, 4}, {-float64(n.width) - nameGap, 6},
		} {
			for step := -11; step <= 11; step++ {
				down := float64(step) * 2.5
				above := way.left == -float64(n.width)/2
				if above && math.Abs(down) < nameHeight/2+nameGap-2 {
					continue // It would lie on the point.
				}
				corner := vg.Point{
					X: point.X + vg.Length(way.left), Y: point.Y - nameHeight/2 + vg.Length(down),
				}
				all = append(all, candidate{
					vg.Rectangle{Min: corner, Max: corner.Add(vg.Point{X: n.width, Y: nameHeight})},
					point,
					way.cost + 8*fromEnd + math.Abs(down)/2,
				})
			}
		}
	}
	return all
}

func middle(r vg.Rectangle) vg.Point { return r.Min.Add(r.Max).Scale(0.5) }

// parts says whether a line runs between two points.
func parts(line []vg.Point, a, b vg.Point) bool {
	// side is above 0 where p is to the left of the way from one point to another, and below where it is to the right.
	side := func(from, to, p vg.Point) vg.Length {
		return (to.X-from.X)*(p.Y-from.Y) - (to.Y-from.Y)*(p.X-from.X)
	}
	for i := 1; i < len(line); i++ {
		from, to := line[i-1], line[i]
		// Points of several lines stand above one another: a way may hit one of them.
		if side(from, to, a)*side(from, to, b) < 0 && side(a, b, from)*side(a, b, to) <= 0 {
			return true
		}
	}
	return false
}

// overlap is the area that two rectangles share.
func overlap(a, b vg.Rectangle) float64 {
	width := min(a.Max.X, b.Max.X) - max(a.Min.X, b.Min.X)
	height := min(a.Max.Y, b.Max.Y) - max(a.Min.Y, b.Min.Y)
	return max(0, float64(width)) * max(0, float64(height))
}

// outside is large for what is not within a room.
func outside(a, room vg.Rectangle) float64 {
	beyond := max(0, float64(room.Min.X-a.Min.X)) + max(0, float64(a.Max.X-room.Max.X)) +
		max(0, float64(room.Min.Y-a.Min.Y)) + max(0, float64(a.Max.Y-room.Max.Y))
	return 1000 * beyond
}

// crossed is how long a line is within a rectangle, roughly. Its points count too.
func crossed(a vg.Rectangle, line []vg.Point) (length float64) {
	const step = 1.5
	inside := func(p vg.Point) bool {
		const room = 1
		return p.X > a.Min.X-room && p.X < a.Max.X+room && p.Y > a.Min.Y-room && p.Y < a.Max.Y+room
	}
	for i, point := range line {
		if inside(point) {
			length += 3 * step
		}
		if i == 0 {
			continue
		}
		way := point.Sub(line[i-1])
		steps := math.Ceil(math.Hypot(float64(way.X), float64(way.Y)) / step)
		for n := range int(steps) {
			if inside(line[i-1].Add(way.Scale(vg.Length((float64(n) + 0.5) / steps)))) {
				length += step
			}
		}
	}
	return length
}
