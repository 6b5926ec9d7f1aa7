package dataset

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// What a gzip file begins with. An IDX file begins with a zero.
const (
	gzipMagic0 = 0x1f
	gzipMagic1 = 0x8b
)

// uncompressed returns what r holds: what it decompresses to if it is gzipped, else what is there.
func uncompressed(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	start, err := buffered.Peek(2)
	switch {
	case errors.Is(err, io.EOF):
		return buffered, nil // Too short for either: who reads it says so.
	case err != nil:
		return nil, err
	case start[0] != gzipMagic0 || start[1] != gzipMagic1:
		return buffered, nil
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, corrupt(err)
	}
	z.Multistream(false)
	return &gunzip{member: z, from: buffered}, nil
}

// gunzip is what a gzip file decompresses to. As gzip itself does, it takes several members one after another, and
// zeros after the last one, with which tapes and some mirrors fill up their blocks.
type gunzip struct {
	member *gzip.Reader
	from   *bufio.Reader
}

func (g *gunzip) Read(p []byte) (int, error) {
	for {
		n, err := g.member.Read(p)
		if err == nil || n > 0 && errors.Is(err, io.EOF) {
			return n, nil // The end comes again.
		}
		if !errors.Is(err, io.EOF) {
			return n, fmt.Errorf("decompress: %w", corrupt(err))
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// next goes on to the next member. It returns io.EOF if there is none.
func (g *gunzip) next() error {
	start, err := g.from.Peek(2)
	if len(start) == 2 && start[0] == gzipMagic0 && start[1] == gzipMagic1 {
		if err := g.member.Reset(g.from); err != nil {
			return fmt.Errorf("decompress: %w", corrupt(err))
		}
		g.member.Multistream(false)
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		b, err := g.from.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return invalidf("decompress: something that is not zeros follows the end of the gzip file")
		}
	}
}

// corrupt marks an error as ErrInvalid if the content is to blame, and not the disk that it comes from.
func corrupt(err error) error {
	var damage flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.EOF) || errors.As(err, &damage) {
		return invalidf("%w", err)
	}
	return err
}
