package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"trellis/worker/archive"
)

// errBeyond stops a program that reports more than it was asked for.
var errBeyond = errors.New("all epochs are reported")

// attempt is a program that runs. One goroutine at a time takes its reports: that of its reports file or that of its
// output.
type attempt struct {
	config  *Config
	log     *slog.Logger
	report  func(Report) error
	folder  *folder
	work    *os.Root
	reports *follower
	pattern *regexp.Regexp
	began   time.Time

	// epochs is the last epoch that was reported.
	epochs int
	// metrics are the names of all metrics that were reported.
	metrics map[string]bool
	// unwanted is the last checkpoint that was reported and not wanted, missing the last one that was not there.
	unwanted *line
	missing  error
	deaf     bool

	// Output, for the goroutine that reads it.
	tail tail

	once sync.Once
	// stopping is closed when the program is to be stopped, and cause says why. now says that it gets no time for it.
	stopping chan struct{}
	cause    error
	now      bool
}

// stop stops the program. The first cause counts.
func (a *attempt) stop(cause error, now bool) {
	a.once.Do(func() {
		a.cause, a.now = cause, now
		close(a.stopping)
	})
}

// takeReport takes a line of the reports file.
func (a *attempt) takeReport(ctx context.Context, text []byte, number int) error {
	if a.deaf {
		return nil
	}
	l, err := parseLine(text)
	if err == nil {
		err = a.take(ctx, l)
	}
	return a.judge(err, fmt.Sprintf("line %d of its reports", number), number, text)
}

// takeOutput takes a line of output, if it is a report.
func (a *attempt) takeOutput(ctx context.Context, text []byte, number int) {
	if a.deaf {
		return
	}
	l, matched, err := matchLine(a.pattern, text)
	if !matched {
		return
	}
	if err == nil {
		err = a.take(ctx, l)
	}
	if err := a.judge(err, fmt.Sprintf("line %d of its output", number), number, text); err != nil {
		a.stop(err, false)
	}
}

// judge turns what take returns into what ends the attempt. After that, nothing more is taken.
func (a *attempt) judge(err error, where string, number int, text []byte) error {
	var received receiverError
	var failed *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &received), errors.As(err, &failed), errors.Is(err, errBeyond):
	default:
		err = &Error{
			Kind: BadReport, Line: number, Err: err,
			Message: fmt.Sprintf("%s: %v: %s", where, err, shorten(string(text))),
		}
	}
	a.deaf = true
	return err
}

// shorten returns the beginning of a line that is shown.
func shorten(text string) string {
	const most = 200
	text = strings.ToValidUTF8(strings.TrimSpace(text), "\uFFFD")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// receiverError is an error of the function that takes reports.
type receiverError struct{ err error }

func (e receiverError) Error() string { return e.err.Error() }

// take checks what a line reports and hands it on.
func (a *attempt) take(ctx context.Context, l line) error {
	next := a.epochs + 1
	addition := l.epoch == a.epochs && len(l.metrics) == 0 && l.checkpoint != "" && a.epochs >= a.config.FirstEpoch
	switch {
	case addition:
	case l.epoch == next && next > a.config.LastEpoch:
		return errBeyond
	case l.epoch == next:
	case l.epoch == a.epochs && a.epochs >= a.config.FirstEpoch:
		return fmt.Errorf("epoch %d is reported twice", l.epoch)
	case next == a.config.FirstEpoch:
		return fmt.Errorf("the first epoch is %d, not %d", next, l.epoch)
	default:
		return fmt.Errorf("after epoch %d comes %d, not %d", a.epochs, next, l.epoch)
	}
	if !addition {
		a.epochs = next
	}
	report := Report{Epoch: l.epoch, Metrics: l.metrics, Addition: addition, Elapsed: time.Since(a.began)}
	for name := range l.metrics {
		a.metrics[name] = true
	}
	if len(a.metrics) > MaxMetrics {
		return fmt.Errorf("it has reported %d metrics by now; a run can have at most %d", len(a.metrics), MaxMetrics)
	}
	if l.checkpoint != "" {
		checkpoint, err := a.takeCheckpoint(ctx, l, report)
		if err != nil {
			return err
		}
		if report.Checkpoint = checkpoint; checkpoint == nil && addition {
			return nil
		}
	}
	if err := a.report(report); err != nil {
		return receiverError{err}
	}
	return nil
}

// takeCheckpoint packs a checkpoint if it is wanted.
func (a *attempt) takeCheckpoint(ctx context.Context, l line, report Report) (*Checkpoint, error) {
	if want := a.config.WantCheckpoint; want != nil && !want(report) {
		// What it names must be right all the same, or it would be found wrong only when it is needed.
		folder, err := a.openCheckpoint(l.checkpoint)
		switch {
		case err == nil:
			folder.Close()
			a.unwanted, a.missing = &l, nil
		case errors.Is(err, fs.ErrNotExist):
			a.missing = badCheckpoint(l.epoch, err)
		default:
			return nil, badCheckpoint(l.epoch, err)
		}
		return nil, nil
	}
	checkpoint, err := a.packCheckpoint(ctx, l.epoch, l.checkpoint)
	switch {
	case err == nil:
		a.unwanted, a.missing = nil, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, archive.ErrChanged):
		// The program may have removed it, or have begun to, because it has already reported the next one. At the end, it
		// is a failure.
		a.missing = badCheckpoint(l.epoch, err)
		a.log.Warn("a reported checkpoint can't be kept", "epoch", l.epoch, "folder", l.checkpoint, "error", err)
		return nil, nil
	default:
		return nil, badCheckpoint(l.epoch, err)
	}
	return checkpoint, nil
}

func badCheckpoint(epoch int, err error) error {
	var failed *Error
	if errors.As(err, &failed) {
		return err
	}
	return &Error{Kind: BadCheckpoint, Message: fmt.Sprintf("epoch %d: %v", epoch, err), Err: err}
}

// reported returns the names of the metrics that were reported.
func (a *attempt) reported() []string {
	names := make([]string, 0, len(a.metrics))
	for name := range a.metrics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
