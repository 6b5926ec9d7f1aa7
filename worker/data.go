package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"trellis/trainer/dataset"
)

// maxDataSets is how many data sets are kept in memory for the next run.
const maxDataSets = 4

// dataSets gives attempts the data sets that they train on. Those that need the same one share it.
type dataSets struct {
	// ctx ends all downloads.
	ctx context.Context
	// fetch gets a data set, from wherever it is.
	fetch fetchFunc
	log   *slog.Logger

	fetching sync.WaitGroup

	mu sync.Mutex
	// entries are those most recently begun, newest last. Attempts hold on to what they train on by themselves.
	entries []*dataEntry
	// waiting has the steps of the attempts that wait for a data set.
	waiting map[*atomic.Uint64]bool
}

// fetchFunc gets the data set of a digest, and calls moved again and again while it does.
type fetchFunc func(ctx context.Context, digest string, moved func()) (*dataset.Data, error)

// dataEntry is a data set that is there, or on its way.
type dataEntry struct {
	digest string
	// done is closed when data or err is set.
	done chan struct{}
	data *dataset.Data
	err  error
}

func newDataSets(ctx context.Context, log *slog.Logger, fetch fetchFunc) *dataSets {
	return &dataSets{ctx: ctx, fetch: fetch, log: log, waiting: map[*atomic.Uint64]bool{}}
}

// get returns the data set of that digest, fetching it if nobody has. A download goes on when ctx ends, since others
// may wait for it. Until it is there, whatever is downloaded counts as steps: who waits for its turn does not hang.
func (d *dataSets) get(ctx context.Context, digest string, steps *atomic.Uint64) (*dataset.Data, error) {
	d.wait(steps)
	defer d.waited(steps)
	entry := d.entry(digest)
	select {
	case <-entry.done:
		return entry.data, entry.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *dataSets) wait(steps *atomic.Uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting[steps] = true
}

func (d *dataSets) waited(steps *atomic.Uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting, steps)
}

// moved counts a step for everyone who waits.
func (d *dataSets) moved() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for steps := range d.waiting {
		steps.Add(1)
	}
}

func (d *dataSets) entry(digest string) *dataEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range d.entries {
		if entry.digest == digest {
			return entry
		}
	}
	entry := &dataEntry{digest: digest, done: make(chan struct{})}
	if len(d.entries) == maxDataSets {
		d.entries = slices.Delete(d.entries, 0, 1)
	}
	d.entries = append(d.entries, entry)
	d.fetching.Go(func() {
		entry.data, entry.err = d.load(digest)
		if entry.err != nil {
			d.drop(entry)
		}
		close(entry.done)
	})
	return entry
}

// drop forgets a data set that could not be had, so that the next attempt tries again.
func (d *dataSets) drop(entry *dataEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = slices.DeleteFunc(d.entries, func(e *dataEntry) bool { return e == entry })
}

// load fetches a data set, again and again while that may help.
func (d *dataSets) load(digest string) (data *dataset.Data, err error) {
	err = retry(d.ctx, func() (err error) {
		data, err = d.fetch(d.ctx, digest, d.moved)
		return err
	}, func(err error) {
		d.log.Warn("could not fetch data set; trying again", "data_set", digest, "error", reason(err))
	})
	return data, err
}

// close returns when all downloads have ended, for which their context must end.
func (d *dataSets) close() { d.fetching.Wait() }
