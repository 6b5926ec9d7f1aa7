package coordinator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

const (
	// tokenInterval is how often the tokens of open streams are looked at: how long a stream may go on with a token
	// that was revoked or has expired.
	tokenInterval = time.Second
	// tokenPatience is how long a follower waits for a token that the leader knows. After that it was revoked before it
	// came, or the follower is too far behind to know.
	tokenPatience = 10 * time.Second
	// maxAsks and maxAsksEach bound the questions to the leader about unknown tokens at the same time, in all and from
	// one host. asksQueue and asksQueueEach bound those that wait.
	maxAsks       = 8
	maxAsksEach   = 2
	asksQueue     = 256
	asksQueueEach = 64
	// denialInterval is the shortest time between two log lines about refused callers.
	denialInterval = 10 * time.Second
)

func newAsks() *quota.Turns {
	return &quota.Turns{
		What: "calls with tokens that it must ask the leader about", Running: maxAsks, RunningEach: maxAsksEach,
		Queue: asksQueue, QueueEach: asksQueueEach,
	}
}

// tokensInUse are the tokens of open streams. When one is revoked or expires, its streams end.
type tokensInUse struct {
	store *results.Store
	// leads says whether this node has every token there is.
	leads func() bool

	mu   sync.Mutex
	byID map[string]*tokenInUse
}

type tokenInUse struct {
	*trellisv1.Token
	// known says that the store has had it: a follower's may get it later than its first stream, at since.
	known   bool
	since   time.Time
	streams map[*context.CancelCauseFunc]bool
}

func newTokensInUse(store *results.Store, leads func() bool) *tokensInUse {
	return &tokensInUse{store: store, leads: leads, byID: map[string]*tokenInUse{}}
}

// use returns a context that ends with the token. The stream calls done when it has ended.
func (t *tokensInUse) use(ctx context.Context, token *trellisv1.Token) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	used := t.byID[token.GetId()]
	if used == nil {
		_, err := t.store.Snapshot().Token(token.GetId())
		used = &tokenInUse{
			Token: token, known: err == nil, since: time.Now(), streams: map[*context.CancelCauseFunc]bool{},
		}
		t.byID[token.GetId()] = used
	}
	used.streams[&cancel] = true
	return ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		cancel(nil)
		delete(used.streams, &cancel)
		if len(used.streams) == 0 && t.byID[token.GetId()] == used {
			delete(t.byID, token.GetId())
		}
	}
}

// run ends streams until ctx is done.
func (t *tokensInUse) run(ctx context.Context) {
	ticker := time.NewTicker(tokenInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			t.check(now)
		}
	}
}

func (t *tokensInUse) check(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) == 0 {
		return
	}
	snapshot, leads := t.store.Snapshot(), t.leads()
	for id, used := range t.byID {
		_, err := snapshot.Token(id)
		used.known = used.known || err == nil
		awaited := !used.known && !leads && now.Sub(used.since) < tokenPatience
		if (err == nil || awaited) && !access.Expired(used.Token, now) {
			continue
		}
		for end := range used.streams {
			(*end)(errEndedToken)
		}
		delete(t.byID, id)
	}
}

// denials logs that callers were refused, but not each: whoever has no credentials must not fill the disk.
type denials struct {
	logger *slog.Logger

	mu       sync.Mutex
	last     time.Time
	unlogged int
}

func (d *denials) log(call access.Call, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.last) >= denialInterval {
		d.logger.Warn("refused a call", "from", call.Address, "method", call.Method, "error",
			status.Convert(err).Message(), "others", d.unlogged)
		d.last, d.unlogged = now, 0
		return
	}
	d.unlogged++
}
