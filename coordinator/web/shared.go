package web

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	// sharedFor is how old an answer may be that somebody else has asked for.
	sharedFor = time.Second
	// maxShared bounds one such answer, and allShared all of them, in bytes.
	maxShared = 1 << 20
	allShared = 16 << 20
)

// shared has the answers of the last moment, for requests that are content with them: those with Cache-Control: max-age=1 or more
// (RFC 9111, section 5.2.1.1). Many who look at one study then cost about what one does. An answer is shared by who has sent the same
// credentials alone, so nobody sees what the server has not let them see within sharedFor.
type shared struct {
	mu      sync.Mutex
	answers map[string]*answer
	bytes   int
}

// answer is one that may be shared. What it says is set before ready is closed.
type answer struct {
	ready chan struct{}
	// asked is when it was asked for: it is not older than that.
	asked time.Time
	// kept is how many bytes it counts for. Guarded by shared.mu.
	kept int

	// ok says that there is an answer to share.
	ok           bool
	body, packed []byte
	tag          string
}

// share returns an answer to a question that is not older than most. If there is none, own says that the caller must settle it.
func (s *shared) share(question string, most time.Duration) (one *answer, own bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if one = s.answers[question]; one != nil && now.Sub(one.asked) <= min(most, sharedFor) {
		return one, false
	}
	one = &answer{ready: make(chan struct{}), asked: now}
	if s.answers == nil {
		s.answers = map[string]*answer{}
	}
	s.drop(question, s.answers[question])
	s.answers[question] = one
	return one, true
}

// drop forgets an answer, unless there is another by now. s.mu is held.
func (s *shared) drop(question string, one *answer) {
	if one != nil && s.answers[question] == one {
		s.bytes -= one.kept
		delete(s.answers, question)
	}
}

// settle ends the waiting of others for an answer: with a body, or without if body is nil. It is kept for those who come later, if
// there is room. Only the first call for an answer counts.
func (s *shared) settle(question string, one *answer, body []byte) {
	select {
	case <-one.ready:
		return
	default:
	}
	defer close(one.ready)
	if body != nil {
		one.ok, one.body, one.tag = true, body, tagOf(body)
	}
	if len(body) >= compressFrom {
		one.packed = pack(body)
	}
	size := len(one.body) + len(one.packed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers[question] != one {
		return
	}
	if body == nil || size > maxShared || s.bytes+size > allShared {
		delete(s.answers, question)
		return
	}
	one.kept = size
	s.bytes += size
	time.AfterFunc(sharedFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(question, one)
	})
}

// await waits for an answer that another request has asked for. It returns false if there is none to share.
func (a *answer) await(ctx context.Context) bool {
	select {
	case <-a.ready:
		return a.ok
	case <-ctx.Done():
		return false
	}
}

// write answers a request.
func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", jsonType)
	header.Set("Age", strconv.Itoa(int(time.Since(a.asked)/time.Second)))
	body := a.body
	if a.packed != nil && takesGzip(r) {
		header.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	writeTagged(w, r, a.tag, body)
}

// pack compresses a body.
func pack(body []byte) []byte {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write(body) // Neither fails: memory takes all.
	_ = writer.Close()
	return packed.Bytes()
}

// takesGzip says whether the client takes compressed answers. Whoever says so with a weight gets them from the wrapper of all answers.
func takesGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if strings.EqualFold(strings.TrimSpace(encoding), "gzip") {
			return true
		}
	}
	return false
}

// question identifies what a request asks and on whose behalf, if its answer may be shared, and says how old that may be.
func (s *Server) question(r *http.Request) (question string, most time.Duration) {
	if r.Method != http.MethodGet {
		return "", 0
	}
	for directive := range strings.SplitSeq(r.Header.Get("Cache-Control"), ",") {
		directive = strings.ToLower(strings.TrimSpace(directive))
		if directive == "no-cache" || directive == "no-store" {
			return "", 0
		}
		if age, found := strings.CutPrefix(directive, "max-age="); found {
			if seconds, err := strconv.ParseUint(age, 10, 31); err == nil {
				most = time.Duration(seconds) * time.Second
			}
		}
	}
	credentials := s.authorizations(r)
	// Who is known by a certificate alone is known by the connection.
	if most == 0 || s.config.Authenticates && len(credentials) == 0 {
		return "", 0
	}
	return strings.Join(append(credentials, r.URL.Path, r.URL.RawQuery), "\n"), most
}
