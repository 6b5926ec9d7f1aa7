package kept

import (
	"container/list"
	"sync"
)

// maxAnswerBytes is how much memory the answers about all studies may take. Those that nobody has asked for for longest make
// room.
const maxAnswerBytes = 64 << 20

// LargestAnswer is how many bytes an answer has at most that is kept.
const LargestAnswer = maxAnswerBytes / 4

// answerOverhead is what an answer takes beside its value and what it answers: its places in a map and in a list, and what they
// point to.
const answerOverhead = 512

// Answers keeps what was answered about the current versions of studies. Unlike results beside one value, they may be large, and
// anybody may ask for others: so they are bounded in bytes. It is safe for concurrent use.
type Answers struct {
	mu    sync.Mutex
	by    map[question]*list.Element
	order list.List // Of *answer, the one that was asked for last in front.
	bytes int
	// computing is what somebody computes at the moment.
	computing map[asked]*awaited
}

// question is what is asked about a study, which its create_index tells from others.
type question struct {
	created uint64
	of      any
}

// asked is a question about a version of a study.
type asked struct {
	question
	version uint64
}

type answer struct {
	asked
	value any
	bytes int
}

// Answers returns those about all studies.
func (s *Studies) Answers() *Answers {
	if s == nil {
		return nil
	}
	return &s.answers
}

// Answer returns what compute returns, which depends on nothing but a version of a study and on of, which must be comparable. While
// one caller computes it, others wait. They stop waiting when done is closed, and return what stopped does then. What has failed is
// not kept. bytes is about how much memory a value and of take.
func Answer[V any](
	a *Answers, created, version uint64, of any, bytes func(V) int, done <-chan struct{}, stopped func() error,
	compute func() (V, error),
) (value V, err error) {
	if a == nil {
		return compute()
	}
	key := asked{question{created, of}, version}
	return once(func() (*awaited, any, bool) { return a.look(key) }, func(value V, ok bool) {
		var its *answer
		if ok {
			its = &answer{key, value, bytes(value)}
		}
		a.end(key, its)
	}, done, stopped, compute)
}

// look returns what is kept, or who computes it. If there is neither, the caller computes it.
func (a *Answers) look(key asked) (others *awaited, value any, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.by[key.question]; found != nil {
		if its := found.Value.(*answer); its.version == key.version {
			a.order.MoveToFront(found)
			return nil, its.value, true
		}
	}
	return begin(&a.computing, key), nil, false
}

// end says that computing has ended, with an answer or without one. Those who wait take it also if it is not kept.
func (a *Answers) end(key asked, with *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if with == nil {
		end(a.computing, key, nil, false)
		return
	}
	end(a.computing, key, with.value, true)
	a.keep(with)
}

// keep keeps an answer, unless there is one about a newer version, or it would take the room of many others.
func (a *Answers) keep(its *answer) {
	before := a.by[its.question]
	if before != nil {
		if before.Value.(*answer).version > its.version {
			return
		}
		a.drop(before)
	}
	if its.bytes > LargestAnswer {
		return
	}
	if a.by == nil {
		a.by = map[question]*list.Element{}
	}
	its.bytes += answerOverhead
	a.by[its.question] = a.order.PushFront(its)
	for a.bytes += its.bytes; a.bytes > maxAnswerBytes; {
		a.drop(a.order.Back())
	}
}

func (a *Answers) drop(its *list.Element) {
	dropped := a.order.Remove(its).(*answer)
	delete(a.by, dropped.question)
	a.bytes -= dropped.bytes
}
