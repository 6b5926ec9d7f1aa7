package program

import (
	"bytes"
	"strings"
)

// Bounds of the last lines of output that an Error has.
const (
	lastLines = 20
	lastBytes = 4 << 10
)

// maxMatched is how many bytes of a line of output a pattern sees.
const maxMatched = 64 << 10

// tail keeps the last bytes of output.
type tail struct {
	bytes []byte
	// cut says that there were more before them.
	cut bool
}

func (t *tail) write(p []byte) {
	if len(p) > lastBytes {
		p, t.cut = p[len(p)-lastBytes:], true
	}
	if over := len(t.bytes) + len(p) - lastBytes; over > 0 {
		t.bytes, t.cut = append(t.bytes[:0], t.bytes[over:]...), true
	}
	t.bytes = append(t.bytes, p...)
}

// lines returns the last lines: whole ones, if more than one is kept.
func (t *tail) lines() []string {
	text := strings.ToValidUTF8(string(t.bytes), "\uFFFD")
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	if t.cut && len(lines) > 1 {
		lines = lines[1:]
	}
	for i, line := range lines {
		// Of a progress bar, which returns to the beginning of its line, the last state counts.
		line = strings.TrimRight(line, "\r")
		lines[i] = line[strings.LastIndexByte(line, '\r')+1:]
	}
	return lines[max(0, len(lines)-lastLines):]
}

// splitter gives the lines of a stream to take, with their numbers. Carriage returns end lines too, but are not
// counted.
type splitter struct {
	buffer []byte
	number int
	take   func(text []byte, number int)
}

func (s *splitter) write(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexAny(p, "\r\n")
		text := p
		if end >= 0 {
			text = p[:end]
		}
		// A line without end takes no memory without end: its beginning is matched.
		s.buffer = append(s.buffer, text[:min(len(text), maxMatched-len(s.buffer))]...)
		if end < 0 {
			return
		}
		s.flush()
		if p[end] == '\n' {
			s.number++
		}
		p = p[end+1:]
	}
}

// flush gives what there is of a line.
func (s *splitter) flush() {
	if len(s.buffer) > 0 {
		s.take(s.buffer, s.number+1)
		s.buffer = s.buffer[:0]
	}
}
