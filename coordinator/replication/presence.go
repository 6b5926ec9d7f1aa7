package replication

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
)

// presenceInterval is how often an idle node looks whether its data directory is still there.
const presenceInterval = time.Second

// presence knows a file or a folder as it was when it was opened. Deleting an open file fails no write and no sync: what
// is written to it then is gone with the process.
type presence struct {
	path string
	info fs.FileInfo
}

// errGone means that a part of the data directory is no longer where it was opened.
var errGone = errors.New("was deleted or moved while this coordinator used it")

// present returns the presence of what is at the path now.
func present(path string) (presence, error) {
	info, err := os.Stat(path)
	if err != nil {
		return presence{}, err
	}
	return presence{path: path, info: info}, nil
}

// check returns an error unless the same file or folder is still at its path.
func (p presence) check() error {
	now, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %w", p.path, errGone)
	case err != nil:
		return fmt.Errorf("look for %s: %w", p.path, err)
	case !os.SameFile(p.info, now):
		return fmt.Errorf("%s %w, and something else is in its place", p.path, errGone)
	}
	return nil
}

// watchPresence fails the node when a part of its data directory is gone, even while nothing is written.
func (l *Log) watchPresence(parts []presence) {
	ticker := time.NewTicker(presenceInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.stopping:
			return
		case <-l.failure.done:
			return
		case <-ticker.C:
		}
		for _, part := range parts {
			if err := part.check(); err != nil {
				l.failure.set(fmt.Errorf("%w: %s", err, remedy(err)))
				return
			}
		}
	}
}

// parts are what a data directory can't be without.
func (d *directory) parts() ([]presence, error) {
	var parts []presence
	for _, name := range []string{nodeName, logName, filepath.Join(logName, metadb.FileName), snapshotsName} {
		part, err := present(filepath.Join(d.path, name))
		if err != nil {
			return nil, fmt.Errorf("look at the data directory: %w", err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}
