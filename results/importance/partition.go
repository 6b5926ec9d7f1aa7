package importance

// partition divides the points into groups.
type partition struct {
	// of is the group of each point.
	of     []uint32
	groups int
	// counts has the number of points of each group. Some may be 0.
	counts []uint32
}

func newPartition(levels []uint32) partition {
	p := partition{of: levels}
	for _, level := range levels {
		p.groups = max(p.groups, int(level)+1)
	}
	return p.counted()
}

func (p partition) counted() partition {
	p.counts = make([]uint32, p.groups)
	for _, group := range p.of {
		p.counts[group]++
	}
	return p
}

// combine returns the partition in which two points share a group if they do so in both a and b.
func combine(a, b partition) partition {
	c := partition{of: make([]uint32, len(a.of)), groups: a.groups * b.groups}
	if c.groups <= 4*len(a.of) {
		for k := range c.of {
			c.of[k] = a.of[k]*uint32(b.groups) + b.of[k]
		}
		return c.counted()
	}
	// There are too many combinations for a table, so those that occur are numbered in order of occurrence.
	numbers := make(map[uint64]uint32, len(a.of))
	for k := range c.of {
		both := uint64(a.of[k])<<32 | uint64(b.of[k])
		number, ok := numbers[both]
		if !ok {
			number = uint32(len(numbers))
			numbers[both] = number
		}
		c.of[k] = number
	}
	c.groups = len(numbers)
	return c.counted()
}

// lines returns, for each axis, the partition of n points into those that differ only in that axis.
func lines(axes []partition, n int) []partition {
	one := newPartition(make([]uint32, n))
	// before[i] divides by the axes before i, after by those that come after it.
	before := make([]partition, len(axes))
	for i := range axes {
		before[i] = one
		if i > 0 {
			before[i] = combine(before[i-1], axes[i-1])
		}
	}
	after, divided := one, make([]partition, len(axes))
	for i := len(axes) - 1; i >= 0; i-- {
		divided[i] = combine(before[i], after)
		after = combine(axes[i], after)
	}
	return divided
}

// within returns the sum of the squared distances of values from their group's mean, over groups of several points, and
// how many points these groups have.
func (p *partition) within(values []float64) (sum float64, points int) {
	means := make([]float64, p.groups)
	for k, group := range p.of {
		means[group] += values[k] / float64(p.counts[group])
	}
	for k, group := range p.of {
		if p.counts[group] > 1 {
			distance := values[k] - means[group]
			sum += distance * distance
			points++
		}
	}
	return sum, points
}
