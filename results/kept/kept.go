package kept

import (
	"sync"
	"sync/atomic"
)

// maxKept is how many results are kept beside one value. The oldest makes room for another.
const maxKept = 64

// Kept are the results that were computed from one value. It is safe for concurrent use.
type Kept struct {
	mu  sync.Mutex
	all []result
	// computing is what somebody computes at the moment: see Once.
	computing map[any]*awaited
}

type result struct{ of, value any }

// Of returns what compute returns, which depends on the value that the results are kept beside and on of alone. of must be
// comparable. Callers that ask at the same time may each compute it. Nil keeps nothing.
func Of[V any](k *Kept, of any, compute func() V) V {
	if k == nil {
		return compute()
	}
	if found, ok := k.find(of); ok {
		return found.(V)
	}
	value := compute()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keep(result{of, value})
	return value
}

func (k *Kept) keep(its result) {
	if len(k.all) == maxKept {
		k.all = k.all[1:]
	}
	k.all = append(k.all, its)
}

// Has says whether something is kept, without computing it.
func (k *Kept) Has(of any) bool {
	if k == nil {
		return false
	}
	_, found := k.find(of)
	return found
}

func (k *Kept) find(of any) (any, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.found(of)
}

// found is find. k.mu is held.
func (k *Kept) found(of any) (any, bool) {
	for _, its := range k.all {
		if its.of == of {
			return its.value, true
		}
	}
	return nil, false
}

// Slot keeps one result, which is found faster than among others. It is safe for concurrent use.
type Slot[V any] struct{ value atomic.Pointer[V] }

// Of returns what compute returns: see the function Of. Callers that ask at the same time may each compute it, and all get the
// same.
func (s *Slot[V]) Of(compute func() *V) *V {
	if value := s.value.Load(); value != nil {
		return value
	}
	s.value.CompareAndSwap(nil, compute())
	return s.value.Load()
}

// Has says whether something is kept, without computing it.
func (s *Slot[V]) Has() bool { return s.value.Load() != nil }
