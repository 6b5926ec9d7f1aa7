package trajectory

import trellisv1 "trellis/proto/trellis/v1"

// memory is what runs are read into. Who keeps nothing of a run once the next ones are read has it used again: getting
// memory and finding out that it is free takes a third of the time of reading a run. The zero value is new memory for
// each.
type memory struct {
	trajectories pool[Trajectory]
	runs         pool[trellisv1.Run]
	trainings    pool[trellisv1.Training]
	losses       pool[trellisv1.Losses]
	trials       pool[trellisv1.Trial]
	floats       row[float64]
	seconds      row[float32]
}

// reuse has the memory of what was read so far used again, and from now on all memory.
func (m *memory) reuse() {
	m.trajectories.reuse()
	m.runs.reuse()
	m.trainings.reuse()
	m.losses.reuse()
	m.trials.reuse()
	m.floats.reuse()
	m.seconds.reuse()
}

// Reset makes an empty trajectory of one that nobody else has.
func (t *Trajectory) Reset() { *t = Trajectory{} }

// pool has values that are used again.
type pool[T any] struct {
	reused bool
	values []*T
	used   int
}

func (p *pool[T]) reuse() { p.reused, p.used = true, 0 }

// next returns an empty value.
func next[T any, Pointer interface {
	*T
	Reset()
}](p *pool[T]) *T {
	if !p.reused {
		return new(T)
	}
	if p.used++; p.used <= len(p.values) {
		value := p.values[p.used-1]
		Pointer(value).Reset()
		return value
	}
	p.values = append(p.values, new(T))
	return p.values[p.used-1]
}

// row has the arrays of rows of numbers, one after the other.
type row[T any] struct {
	reused bool
	array  []T
	used   int
}

func (r *row[T]) reuse() { r.reused, r.used = true, 0 }

// next returns room for so many numbers, or nil if it is not reused.
func (r *row[T]) next(n int) []T {
	if !r.reused {
		return nil
	}
	if r.used+n > len(r.array) {
		// Who has rows in the array before goes on reading them there.
		r.array, r.used = make([]T, 2*len(r.array)+n), 0
	}
	r.used += n
	return r.array[r.used-n : r.used-n : r.used]
}
