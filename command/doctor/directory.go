package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"trellis/command/output"
	"trellis/coordinator"
)

const (
	// writes is how many are timed, each of writeSize bytes.
	writes, writeSize = 30, 4096
	// slowSync and tooSlowSync are medians. Whatever is acknowledged waits for one at a majority of nodes.
	slowSync, tooSlowSync = 10 * time.Millisecond, 100 * time.Millisecond
	// stalledSync is the longest that is no warning. A leader that is silent for half a second is replaced.
	stalledSync = 500 * time.Millisecond
	// manySyncs is how long synced writes are timed. dataTimeout is how long the checks of the data directory may take in all.
	manySyncs, dataTimeout = 10 * time.Second, 30 * time.Second
	// clearing is how long what is under way may take to remove its file, if nobody waits any more.
	clearing = time.Second
)

// diskSpace is what a coordinator with the data directory would say.
func diskSpace(folder string) (free, reserve uint64, err error) {
	return coordinator.DiskSpace(folder, 0)
}

// checkData is about the data directory, or, if it is not there yet, about the folder that it would be made in.
func (m *machine) checkData(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, dataTimeout)
	defer cancel()
	found := make(chan []finding, 1)
	// A file system that hangs ends no call: then this lasts as long as the process.
	go func() { found <- m.checkDirectory(ctx) }()
	select {
	case findings := <-found:
		return findings
	case <-ctx.Done():
	}
	select {
	case findings := <-found:
		return findings
	case <-time.After(clearing):
		return []finding{{
			Check: "data directory", State: fault, Found: fmt.Sprintf("%s does not respond", m.data),
			Advice: "see that its disk, or the server that it is mounted from, can be reached, or choose another folder with --data",
		}}
	}
}

func (m *machine) checkDirectory(ctx context.Context) []finding {
	f := finding{Check: "data directory", State: fault}
	folder, err := existing(m.data)
	if err != nil {
		f.Found, f.Advice = err.Error(), "choose another folder with --data"
		return []finding{f}
	}
	file, err := os.CreateTemp(folder, ".doctor-")
	if full(err) {
		f.Found, f.Advice = fmt.Sprintf("%s has no room (%v)", folder, reason(err)), freeSpace
		return []finding{f}
	}
	if err != nil {
		f.Found = fmt.Sprintf("%s is not writable (%v)", folder, reason(err))
		f.Advice = "make it writable for the user that runs the coordinator, or choose another folder with --data"
		return []finding{f}
	}
	defer os.Remove(file.Name())
	defer file.Close()
	f.State, f.Found = fine, m.data+" is writable"
	if folder != m.data {
		f.Found = m.data + " can be made"
	}
	return []finding{f, m.checkSpace(folder), m.checkSync(ctx, file)}
}

// existing is the nearest folder that is there: a data directory, or one above it.
func existing(path string) (string, error) {
	for {
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			return "", fmt.Errorf("%s is not a folder", path)
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path:
			return "", err
		}
		path = filepath.Dir(path)
	}
}

// reason is an error without the path that it is about.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// full says whether an error means that there is no room.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// freeSpace is what to do then.
const freeSpace = "free disk space, raise the quota, or choose another folder with --data"

func (m *machine) checkSpace(folder string) finding {
	f := finding{Check: "disk space", State: fine}
	free, reserve, err := m.space(folder)
	if err != nil {
		f.State, f.Found = warning, fmt.Sprintf("what is free can't be read (%v)", reason(err))
		return f
	}
	f.Found = fmt.Sprintf("%s free, of which %s are kept for running studies", output.ShortBytes(free), output.ShortBytes(reserve))
	switch {
	case free < reserve:
		f.State, f.Advice = fault, "new studies are refused: free disk space, or choose another folder with --data"
	case free < 2*reserve:
		f.State, f.Advice = warning, "free disk space before new studies are refused"
	}
	return f
}

// checkSync times small writes that have to be on the disk, as those of the log are.
func (m *machine) checkSync(ctx context.Context, file *os.File) finding {
	f := finding{Check: "disk speed", State: fine}
	var took []time.Duration
	for start := time.Now(); len(took) < writes && ctx.Err() == nil && time.Since(start) < manySyncs; {
		began := time.Now()
		_, err := file.Write(make([]byte, writeSize))
		if err == nil {
			err = m.sync(file)
		}
		if err != nil {
			f.State, f.Found = fault, fmt.Sprintf("a write failed (%v)", reason(err))
			f.Advice = "look for errors of the disk in the system's log, or choose another folder with --data"
			if full(err) {
				f.Advice = freeSpace
			}
			return f
		}
		took = append(took, time.Since(began))
	}
	if len(took) == 0 {
		// Nobody waits any more.
		f.State, f.Found = warning, "not measured"
		return f
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	f.Found = fmt.Sprintf("%s took %s each in the median, %s at most", output.Count(uint64(len(took)), "synced write"),
		output.ShortDuration(median), output.ShortDuration(worst))
	switch {
	case median > tooSlowSync:
		f.State, f.Advice = fault, "everything that is recorded waits for this: use a local solid-state disk for --data"
	case median > slowSync:
		f.State, f.Advice = warning, "what is recorded waits for this: prefer a local solid-state disk for --data"
	case worst > stalledSync:
		f.State, f.Advice = warning, "a leader that stalls is replaced: look for what else uses the disk"
	}
	return f
}
