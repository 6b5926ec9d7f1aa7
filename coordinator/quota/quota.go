package quota

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// EachSuffix is added to the name of a limit for the name of the limit that each peer has of the same.
const EachSuffix = "-each"

// Limit is how much there may be of something.
type Limit struct {
	// Name is the limit's name: see coordinator.Limits. Each peer's is Name and EachSuffix.
	Name string
	// Noun is what is counted, for people: "bytes of reports that wait for the log".
	Noun string
	// Help says what the refused can do: "retry in a moment".
	Help string
	// InAll and Each are how much there may be in all and of one peer. 0 is no limit.
	InAll, Each int64
}

// Exceeded says which limit refuses something. Its status is RESOURCE_EXHAUSTED.
type Exceeded struct {
	Limit Limit
	// Each is set if it is the peer's own limit, and not that of all.
	Each bool
	// Held is how much there is already, and Asked is what was refused.
	Held, Asked int64
}

func (e *Exceeded) Error() string {
	name, value, whose := e.Limit.Name, e.Limit.InAll, "this coordinator"
	if e.Each {
		name, value, whose = name+EachSuffix, e.Limit.Each, "you"
	}
	has := "has"
	if e.Each {
		has = "have"
	}
	return fmt.Sprintf("%s already %s %d %s, and %d more would exceed the limit %s=%d: %s", whose, has, e.Held,
		e.Limit.Noun, e.Asked, name, value, e.Limit.Help)
}

// GRPCStatus makes the refusal a status of the API.
func (e *Exceeded) GRPCStatus() *status.Status { return status.New(codes.ResourceExhausted, e.Error()) }

// Quota counts what is held under a limit. It is safe for concurrent use.
type Quota struct {
	limit Limit

	mu  sync.Mutex
	all int64
	// by has what each peer holds. Peers that hold nothing are left out.
	by map[string]int64
	// freed is closed when something is given back, and nil while nobody waits for that.
	freed chan struct{}
}

// New returns a quota of which nothing is held.
func New(limit Limit) *Quota { return &Quota{limit: limit, by: map[string]int64{}} }

// Take counts n for the peer, or returns *Exceeded if that exceeds a limit.
func (q *Quota) Take(who string, n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if refusal := q.take(who, n, false); refusal != nil {
		return refusal
	}
	return nil
}

// Await is Take, but waits for room until ctx is done. What is larger than a limit by itself is taken once nothing else
// is held under that limit, so that nobody waits forever.
func (q *Quota) Await(ctx context.Context, who string, n int64) error {
	for {
		q.mu.Lock()
		if q.take(who, n, true) == nil {
			q.mu.Unlock()
			return nil
		}
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		freed := q.freed
		q.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take counts n for the peer if there is room, or if nothing else is held and alone is set. q.mu must be held.
func (q *Quota) take(who string, n int64, alone bool) *Exceeded {
	full := func(held, limit int64) bool { return limit > 0 && held+n > limit && (!alone || held > 0) }
	if full(q.by[who], q.limit.Each) {
		return &Exceeded{Limit: q.limit, Each: true, Held: q.by[who], Asked: n}
	}
	if full(q.all, q.limit.InAll) {
		return &Exceeded{Limit: q.limit, Held: q.all, Asked: n}
	}
	q.all += n
	q.by[who] += n
	return nil
}

// Give gives back what Take or Await has counted.
func (q *Quota) Give(who string, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all -= n
	if q.by[who] -= n; q.by[who] <= 0 {
		delete(q.by, who)
	}
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
}

// Held returns what is held in all.
func (q *Quota) Held() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}

// Count is what one user of a quota has taken of it, until it ends. It is safe for concurrent use.
type Count struct {
	mu    sync.Mutex
	total int64
	ended bool
}

// Add counts n more, and returns all. It counts nothing after End: n must be given back.
func (c *Count) Add(n int64) (total int64, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return c.total, false
	}
	c.total += n
	return c.total, true
}

// End ends the count and returns it.
func (c *Count) End() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	return c.total
}
