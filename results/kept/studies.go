package kept

import "sync"

// maxStudies is of how many studies results are kept. Those that nobody has asked about for longest make room.
const maxStudies = 16

// Studies keeps what was computed from studies. It is safe for concurrent use.
type Studies struct {
	mu sync.Mutex
	// all are the studies, those that were asked about last at the end.
	all     []*study
	answers Answers
}

// study is what is kept of a study: of its current version, and of all.
type study struct {
	created, version uint64
	current, lasting *Kept
}

// Of returns what is kept of a version of a study, which its create_index tells from others. Of other versions nothing is kept.
// Who asks for an older version than somebody else before gets a place that is forgotten.
func (s *Studies) Of(created, version uint64) *Kept {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	its := s.find(created)
	if version < its.version {
		return &Kept{}
	}
	if version > its.version {
		its.version, its.current = version, &Kept{}
	}
	return its.current
}

// Lasting returns what is kept of all versions of a study.
func (s *Studies) Lasting(created uint64) *Kept {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(created).lasting
}

func (s *Studies) find(created uint64) *study {
	for i, its := range s.all {
		if its.created == created {
			copy(s.all[i:], s.all[i+1:])
			s.all[len(s.all)-1] = its
			return its
		}
	}
	its := &study{created: created, current: &Kept{}, lasting: &Kept{}}
	if s.all = append(s.all, its); len(s.all) > maxStudies {
		s.all = s.all[1:]
	}
	return its
}

// Once is Of for what takes long and may fail: while one caller computes it, others wait. They stop waiting when done is
// closed, and return what stopped does then. What has failed is not kept: the next caller tries again.
func Once[V any](
	k *Kept, of any, done <-chan struct{}, stopped func() error, compute func() (V, error),
) (value V, err error) {
	if k == nil {
		return compute()
	}
	return once(func() (*awaited, any, bool) { return k.look(of) }, func(value V, ok bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if ok {
			k.keep(result{of, value})
		}
		end(k.computing, of, value, ok)
	}, done, stopped, compute)
}

// look returns what is kept, or who computes it. If there is neither, the caller computes it.
func (k *Kept) look(of any) (others *awaited, value any, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if value, ok = k.found(of); ok {
		return nil, value, true
	}
	return begin(&k.computing, of), nil, false
}
