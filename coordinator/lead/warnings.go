package lead

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// warningInterval is the shortest time between two log lines about the same.
	warningInterval = 10 * time.Second
	// maxWarning is how many bytes of a worker's text are logged.
	maxWarning = 200
)

// warnings logs what workers bring about, but not each time: whoever has a worker's credentials must not fill the disk.
type warnings struct {
	logger *slog.Logger

	mu     sync.Mutex
	logged map[string]*warned
}

// warned is when a message was logged last, and how often it was not since.
type warned struct {
	last   time.Time
	others int
}

// warn logs a message, unless it did a moment ago. Messages are few: what differs is in their attributes.
func (w *warnings) warn(message string, attributes ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logged == nil {
		w.logged = map[string]*warned{}
	}
	before, now := w.logged[message], time.Now()
	if before != nil && now.Sub(before.last) < warningInterval {
		before.others++
		return
	}
	if before != nil && before.others > 0 {
		attributes = append(attributes, "others", before.others)
	}
	w.logged[message] = &warned{last: now}
	w.logger.Warn(message, attributes...)
}
