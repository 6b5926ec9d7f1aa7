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

// computing is a result that somebody is computing. done is closed when that has ended.
type computing struct{ done chan struct{} }

// Once is Of for what takes long and may fail: while one caller computes it, others wait. They stop waiting when done is
// closed, and return what stopped does then. What has failed is not kept: the next caller tries again.
func Once[V any](
	k *Kept, of any, done <-chan struct{}, stopped func() error, compute func() (V, error),
) (value V, err error) {
	if k == nil {
		return compute()
	}
	for {
		others, found, ok := k.begin(of)
		if ok {
			return found.(V), nil
		}
		if others == nil {
			break
		}
		select {
		case <-others.done:
		case <-done:
			return value, stopped()
		}
	}
	defer func() {
		if err != nil {
			k.end(of, nil)
		}
	}()
	if value, err = compute(); err == nil {
		k.end(of, &result{of, value})
	}
	return value, err
}

// begin returns what is kept, or who computes it. If there is neither, the caller computes it.
func (k *Kept) begin(of any) (others *computing, value any, ok bool) {
	if value, ok = k.find(of); ok {
		return nil, value, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if others = k.computing[of]; others == nil {
		if k.computing == nil {
			k.computing = map[any]*computing{}
		}
		k.computing[of] = &computing{make(chan struct{})}
	}
	return others, nil, false
}

// end says that computing has ended, with a result or without one.
func (k *Kept) end(of any, with *result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if with != nil {
		k.keep(*with)
	}
	close(k.computing[of].done)
	delete(k.computing, of)
}
