package dataset

import (
	"hash/crc32"
	"io"
)

// blockSize is how many bytes of a file have a checksum of their own. The last block may be shorter.
const blockSize = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockReader hands on a file's content block by block, each only after its checksum was right. So of what the disk has
// changed, nothing is sent or trained on, and the error says where it is. It holds one block in memory.
type blockReader struct {
	content io.Reader
	file    File
	// block is what of the current one has not been handed on. number is that of the next.
	block  []byte
	buffer []byte
	number int
	err    error
}

func newBlockReader(content io.Reader, f File) *blockReader {
	return &blockReader{content: content, file: f, buffer: make([]byte, blockSize)}
}

func (r *blockReader) Read(p []byte) (int, error) {
	if len(r.block) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.block) == 0 {
		return 0, r.err
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

// next reads and checks a block. What lies beyond the last one is the verifier's to refuse.
func (r *blockReader) next() error {
	n, err := io.ReadFull(r.content, r.buffer)
	if err == io.EOF {
		return err
	}
	if err != nil && err != io.ErrUnexpectedEOF {
		return err
	}
	from := int64(r.number) * blockSize
	if r.number < len(r.file.blocks) && from+int64(n) <= r.file.Size && (n == blockSize || from+int64(n) == r.file.Size) &&
		crc32.Checksum(r.buffer[:n], castagnoli) != r.file.blocks[r.number] {
		return invalidf("%s is damaged on disk between bytes %d and %d: they are not those that were imported; remove the "+
			"data set and import it again", r.file.Name, from, from+int64(n))
	}
	r.number++
	r.block = r.buffer[:n]
	return nil
}

// blockSums computes a file's checksums as its content is written to it.
type blockSums struct {
	sums []uint32
	// filled is how many bytes of the last block are in its sum.
	filled int
}

func (b *blockSums) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if b.filled == 0 {
			b.sums = append(b.sums, 0)
		}
		n := min(len(rest), blockSize-b.filled)
		last := &b.sums[len(b.sums)-1]
		*last = crc32.Update(*last, castagnoli, rest[:n])
		b.filled, rest = (b.filled+n)%blockSize, rest[n:]
	}
	return len(p), nil
}
