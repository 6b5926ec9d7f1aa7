package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// How often the reports file is looked at: soon after there was something, less often while there is nothing. Looking
// costs microseconds, and a program never waits for it.
const (
	shortPause = 5 * time.Millisecond
	longPause  = 100 * time.Millisecond
)

// maxReports is how many bytes the reports file may have.
const maxReports = 1 << 30

// errTooMuch means that the reports file fills the disk. The program gets no time to go on.
var errTooMuch = errors.New("too much was reported")

// follower reads the lines of a file while they are written.
type follower struct {
	path   string
	file   *os.File
	offset int64
	// buffer has the beginning of a line that is not complete.
	buffer []byte
	number int
}

func newFollower(path string) (*follower, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &follower{path: path, file: file}, nil
}

// follow gives each line to take, with its number, until ended is closed and the file is read to its end.
func (f *follower) follow(ended <-chan struct{}, take func(text []byte, number int) error) error {
	timer := time.NewTimer(shortPause)
	defer timer.Stop()
	for pause := shortPause; ; {
		over := false
		select {
		case <-ended:
			over = true // What is there now is all.
		case <-timer.C:
		}
		before := f.offset
		if err := f.read(take); err != nil {
			return err
		}
		if over {
			// A last line need not end.
			if len(bytes.TrimSpace(f.buffer)) == 0 {
				return nil
			}
			f.number++
			return take(f.buffer, f.number)
		}
		if pause = min(pause*3/2, longPause); f.offset > before {
			pause = shortPause
		}
		timer.Reset(pause)
	}
}

// read reads what is new.
func (f *follower) read(take func(text []byte, number int) error) error {
	chunk := make([]byte, 64<<10)
	for {
		n, err := f.file.ReadAt(chunk, f.offset)
		f.offset += int64(n)
		for rest := chunk[:n]; len(rest) > 0; {
			text, after, complete := bytes.Cut(rest, []byte{'\n'})
			if len(f.buffer)+len(text) > MaxLine {
				return &Error{
					Kind: BadReport, Line: f.number + 1, Err: errTooMuch,
					Message: fmt.Sprintf("line %d of its reports has more than %d bytes", f.number+1, MaxLine),
				}
			}
			f.buffer = append(f.buffer, text...)
			if rest = after; !complete {
				break
			}
			f.number++
			if len(bytes.TrimSpace(f.buffer)) > 0 {
				if err := take(f.buffer, f.number); err != nil {
					return err
				}
			}
			f.buffer = f.buffer[:0]
		}
		switch {
		case f.offset > maxReports:
			return &Error{
				Kind: BadReport, Err: errTooMuch,
				Message: fmt.Sprintf("its reports have more than %d bytes", maxReports),
			}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return broken("read the reports file", err)
		}
	}
}

// intact says whether the file is still the one that the program was given, with everything in it.
func (f *follower) intact() bool {
	opened, err := f.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.path)
	return err == nil && os.SameFile(opened, named) && opened.Size() >= f.offset
}

func (f *follower) close() { f.file.Close() }
