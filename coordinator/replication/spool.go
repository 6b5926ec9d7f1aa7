package replication

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// spool is a temporary file for the state in a backup that is being received. It takes no room that the log may need:
// it leaves spoolReserve, and room for the copy that the snapshot store makes. Should others fill the disk, it is given
// up at once.
type spool struct {
	file *os.File
	// space returns how much of the disk is free.
	space func() (free uint64, err error)

	mu      sync.Mutex
	written uint64
	// failed is why the spool has been given up.
	failed error
}

var _ io.ReadWriteSeeker = (*spool)(nil)

// newSpool creates a spool in the data directory.
func (l *Log) newSpool() (*spool, error) {
	dir := ""
	if l.directory != nil {
		dir = l.directory.path
	}
	file, err := os.CreateTemp(dir, "restore-*"+temporarySuffix)
	if err != nil {
		return nil, err
	}
	folder := filepath.Dir(file.Name())
	s := &spool{file: file, space: func() (uint64, error) {
		free, _, err := folderSpace(folder)
		return free, err
	}}
	if err := s.room(0); err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// room returns an error unless there is room for more bytes, for a copy of everything, and for the log.
func (s *spool) room(more int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	free, err := s.space()
	if err != nil {
		return err
	}
	if need := spoolReserve + s.written + 2*uint64(more); free < need {
		return fmt.Errorf("%w: it has %d MiB so far, and of the disk %d MiB are free, of which the log keeps %d MiB: "+
			"make room on the disk and retry: nothing has been changed", ErrNoSpace, s.written>>20, free>>20,
			spoolReserve>>20)
	}
	return nil
}

// Write adds to the file, if there is room.
func (s *spool) Write(data []byte) (int, error) {
	if err := s.room(len(data)); err != nil {
		return 0, err
	}
	n, err := s.file.Write(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written += uint64(n)
	return n, err
}

func (s *spool) Read(into []byte) (int, error) { return s.file.Read(into) }

func (s *spool) Seek(offset int64, whence int) (int64, error) { return s.file.Seek(offset, whence) }

// watch gives the spool up when others need the reserve, even while its sender is silent. It ends with ctx.
func (s *spool) watch(ctx context.Context) {
	ticker := time.NewTicker(spoolCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		free, err := s.space()
		if err != nil || free >= spoolReserve {
			continue
		}
		s.mu.Lock()
		if s.written > 0 && s.failed == nil {
			s.failed = fmt.Errorf("%w: others have filled the disk while it was received: make room on the disk and "+
				"retry: nothing has been changed", ErrNoSpace)
			_ = s.file.Truncate(0)
		}
		s.mu.Unlock()
	}
}

// gaveUp is why the spool was given up, nil if it was not.
func (s *spool) gaveUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// discard removes the file.
func (s *spool) discard() {
	s.file.Close()
	os.Remove(s.file.Name())
}
