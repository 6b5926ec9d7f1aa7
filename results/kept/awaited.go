package kept

// awaited is a value that somebody computes. done is closed when that has ended. Then value is what was computed, if ok.
type awaited struct {
	done  chan struct{}
	value any
	ok    bool
}

// begin returns who computes the value of a key. If nobody does, the caller computes it from now on. The map's lock is held.
func begin[K comparable](computing *map[K]*awaited, key K) (others *awaited) {
	if others = (*computing)[key]; others == nil {
		if *computing == nil {
			*computing = map[K]*awaited{}
		}
		(*computing)[key] = &awaited{done: make(chan struct{})}
	}
	return others
}

// end says that the caller's computing has ended, with a value or without one. The map's lock is held.
func end[K comparable](computing map[K]*awaited, key K, value any, ok bool) {
	its := computing[key]
	its.value, its.ok = value, ok
	close(its.done)
	delete(computing, key)
}

// once returns what look finds. Otherwise one caller computes it and says to end whether it has, also if it panics, while the
// others wait for it. They stop waiting when done is closed, and return what stopped does then. If computing fails, one of them
// tries again.
func once[V any](
	look func() (others *awaited, found any, ok bool), end func(value V, ok bool),
	done <-chan struct{}, stopped func() error, compute func() (V, error),
) (value V, err error) {
	for {
		others, found, ok := look()
		if ok {
			return found.(V), nil
		}
		if others == nil {
			break
		}
		select {
		case <-others.done:
			if others.ok {
				return others.value.(V), nil
			}
		case <-done:
			return value, stopped()
		}
	}
	ok := false
	defer func() { end(value, ok) }()
	value, err = compute()
	ok = err == nil
	return value, err
}
