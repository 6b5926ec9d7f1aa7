package program

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// DefaultOutput is how many bytes of the beginning of an output are kept, and how many of its end.
const DefaultOutput = 4 << 20

// Output keeps what a program writes: the first bytes, the last bytes, and how many there were between them. It is one
// file of bounded size, and can be read while it is written. Offsets count all bytes that were written.
type Output struct {
	head, tail int64

	mu    sync.Mutex
	file  *os.File
	total int64
	err   error
	// changed is closed at the next write.
	changed chan struct{}
	ended   bool
}

// Chunk is a piece of an output.
type Chunk struct {
	// Offset is where Data begins: later than what was asked for if that is not kept.
	Offset int64
	Data   []byte
	// Total is how many bytes were written so far.
	Total int64
	// Ended says that nothing more will be written.
	Ended bool
}

// Kept says what is kept of an output: the first Head bytes, then the last Tail bytes of Total.
type Kept struct {
	Head, Tail, Total int64
}

// Omitted is how many bytes were left out.
func (k Kept) Omitted() int64 { return k.Total - k.Head - k.Tail }

// CreateOutput makes a file for an output, which keeps the first and the last each bytes. Close closes it, and the file
// remains.
func CreateOutput(path string, each int64) (*Output, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &Output{head: each, tail: each, file: file, changed: make(chan struct{})}, nil
}

// Write adds to the output. It fails only as its file does.
func (o *Output) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	for rest := p; len(rest) > 0 && o.err == nil; {
		at, room := o.place(o.total)
		n, err := o.file.WriteAt(rest[:min(int64(len(rest)), room)], at)
		o.total += int64(n)
		rest, o.err = rest[n:], err
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), o.err
}

// place returns where in the file the byte at an offset is, and how many follow it there without a break.
func (o *Output) place(offset int64) (at, room int64) {
	if offset < o.head {
		return offset, o.head - offset
	}
	in := (offset - o.head) % o.tail
	return o.head + in, o.tail - in
}

// end says that nothing more will be written.
func (o *Output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	close(o.changed)
	o.changed = make(chan struct{})
}

// Changed returns a channel that is closed when more was written or the output has ended. Take it before Read.
func (o *Output) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// Kept says what is kept now.
func (o *Output) Kept() Kept {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kept()
}

func (o *Output) kept() Kept {
	head := min(o.total, o.head)
	return Kept{Head: head, Tail: min(o.total-head, o.tail), Total: o.total}
}

// Read returns at most limit bytes from an offset. It is empty at the end of what was written so far.
func (o *Output) Read(offset int64, limit int) (Chunk, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.read(offset, limit)
}

func (o *Output) read(offset int64, limit int) (Chunk, error) {
	kept := o.kept()
	offset = min(max(offset, 0), o.total)
	end := o.total
	switch tail := o.total - kept.Tail; {
	case offset < kept.Head:
		end = kept.Head
	case offset < tail:
		offset = tail
	}
	if offset < o.head {
		end = min(end, o.head) // A chunk has no gap in it.
	}
	chunk := Chunk{Offset: offset, Total: o.total, Ended: o.ended}
	chunk.Data = make([]byte, min(end-offset, int64(max(limit, 0))))
	for read := 0; read < len(chunk.Data); {
		at, room := o.place(offset + int64(read))
		n, err := o.file.ReadAt(chunk.Data[read:min(int64(len(chunk.Data)), int64(read)+room)], at)
		read += n
		if err != nil && n == 0 {
			return Chunk{}, fmt.Errorf("read output: %w", err)
		}
	}
	return chunk, nil
}

// Compress writes what is kept as one zstd stream: the first Head bytes, and directly after them the last Tail bytes.
func (o *Output) Compress(w io.Writer) (Kept, error) {
	o.mu.Lock()
	kept := o.kept()
	o.mu.Unlock()
	compressed, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return kept, err
	}
	err = o.copy(compressed, 0, kept.Head)
	if err == nil {
		err = o.copy(compressed, kept.Total-kept.Tail, kept.Total)
	}
	if closed := compressed.Close(); err == nil {
		err = closed
	}
	return kept, err
}

func (o *Output) copy(w io.Writer, from, to int64) error {
	for from < to {
		chunk, err := o.Read(from, int(min(to-from, 256<<10)))
		if err != nil {
			return err
		}
		if chunk.Offset != from || len(chunk.Data) == 0 {
			return fmt.Errorf("read output: it changed at byte %d while it was compressed", from)
		}
		if _, err := w.Write(chunk.Data); err != nil {
			return err
		}
		from += int64(len(chunk.Data))
	}
	return nil
}

// Close closes the file.
func (o *Output) Close() error { return o.file.Close() }
