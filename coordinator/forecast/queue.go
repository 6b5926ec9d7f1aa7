package forecast

// restRuns is how many runs at the end of a queue are simulated individually.
const restRuns = 512

// queue are runs in the order in which they will be leased.
type queue struct {
	// bulk has how many runs of each class are not among the last ones.
	bulk []int
	// last has the classes of the last runs. Once there are as many as are simulated, the oldest of them is at next.
	last []int32
	next int
	// runs is how many runs there are.
	runs int
}

// add adds runs of a class.
func (q *queue) add(class, runs int) {
	q.runs += runs
	for range min(runs, restRuns) {
		if len(q.last) < restRuns {
			q.last = append(q.last, int32(class))
			continue
		}
		q.pass(int(q.last[q.next]), 1)
		q.last[q.next] = int32(class)
		if q.next++; q.next == restRuns {
			q.next = 0
		}
	}
	if more := runs - restRuns; more > 0 {
		q.pass(class, more)
	}
}

// pass counts runs of a class that are not among the last ones any more.
func (q *queue) pass(class, runs int) {
	for len(q.bulk) <= class {
		q.bulk = append(q.bulk, 0)
	}
	q.bulk[class] += runs
}

// rest returns the classes of the last runs, in their order.
func (q *queue) rest() []int32 {
	rest := make([]int32, 0, len(q.last))
	return append(append(rest, q.last[q.next:]...), q.last[:q.next]...)
}

// counts returns how many runs of each of so many classes are not among the last ones.
func (q *queue) counts(classes int) []int {
	counts := make([]int, classes)
	copy(counts, q.bulk)
	return counts
}
