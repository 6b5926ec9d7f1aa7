package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Pack writes an archive of a folder. Links are followed if what they lead to lies inside the folder; others are
// refused, and so are sockets, pipes and devices. If skip is not nil, it is asked about each path, relative to the
// folder and with slashes; what it returns true for is left out, a folder with everything in it.
func Pack(ctx context.Context, w io.Writer, folder *os.Root, limits Limits, skip func(path string, folder bool) bool) (
	Info, error,
) {
	return (&packer{ctx: ctx, folder: folder, skip: skip, tally: tally{limits: limits}}).write(w)
}

// PackUnchanged is Pack of a whole folder, which fails with ErrChanged or fs.ErrNotExist if the folder changes meanwhile:
// someone who has begun to remove it, or to write it anew, would leave half of it in the archive.
func PackUnchanged(ctx context.Context, w io.Writer, folder *os.Root, limits Limits) (Info, error) {
	return (&packer{ctx: ctx, folder: folder, tally: tally{limits: limits}, verified: true}).write(w)
}

func (p *packer) write(w io.Writer) (Info, error) {
	hash := sha256.New()
	counted := &counter{w: io.MultiWriter(w, hash)}
	// One goroutine: with several the bytes could depend on how many there are.
	compressed, err := zstd.NewWriter(counted, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return Info{}, err
	}
	p.tar, p.buffer = tar.NewWriter(compressed), make([]byte, 256<<10)
	err = p.pack(".", nil)
	if err == nil {
		err = p.verify()
	}
	if err == nil {
		err = p.tar.Close()
	}
	if closed := compressed.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return Info{}, err
	}
	return Info{SHA256: hex.EncodeToString(hash.Sum(nil)), Size: counted.n, Files: p.files, Bytes: p.bytes}, nil
}

type packer struct {
	ctx    context.Context //nolint:containedctx // Pack's own, for as long as it runs.
	folder *os.Root
	tar    *tar.Writer
	skip   func(string, bool) bool
	tally
	buffer []byte
	// verified says that everything is looked at twice. seen is how it was at first.
	verified bool
	seen     []seen
}

// seen is a file or folder as it was before it was read.
type seen struct {
	name     string
	size     int64
	modified time.Time
}

// see keeps how a file or folder was.
func (p *packer) see(name string, info fs.FileInfo) {
	if p.verified {
		p.seen = append(p.seen, look(name, info))
	}
}

func look(name string, info fs.FileInfo) seen {
	size := info.Size()
	if info.IsDir() {
		size = -1 // Its own, which says nothing.
	}
	return seen{name, size, info.ModTime()}
}

// verify looks at everything once more. Times are as exact as the file system's.
func (p *packer) verify() error {
	for _, was := range p.seen {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		info, err := p.folder.Stat(was.name)
		if err != nil {
			return err
		}
		if now := look(was.name, info); now.size != was.size || !now.modified.Equal(was.modified) {
			return fmt.Errorf("%s: %w", was.name, ErrChanged)
		}
	}
	return nil
}

// pack packs what is in a folder. above are the folders that it lies in: a link to one of them would never end.
func (p *packer) pack(name string, above []fs.FileInfo) error {
	opened, err := p.open(name)
	if err != nil {
		return err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", name)
	}
	p.see(name, info)
	if len(above) >= maxDepth {
		return fmt.Errorf("%w: %s: folders lie more than %d deep", ErrLimit, name, maxDepth)
	}
	for _, outer := range above {
		if os.SameFile(outer, info) {
			return fmt.Errorf("%s is a link to a folder that it lies in", name)
		}
	}
	names, err := p.names(opened)
	if err != nil {
		return err
	}
	above = append(slices.Clip(above), info)
	for _, base := range names {
		if err := p.add(path.Join(name, base), above); err != nil {
			return err
		}
	}
	return nil
}

// open opens a file or folder. It does not wait for a writer: it may be a pipe by now.
func (p *packer) open(name string) (*os.File, error) { return p.folder.OpenFile(name, openFlags, 0) }

// names returns what is in a folder, sorted. It stops as soon as there are too many: a million names take long.
func (p *packer) names(opened *os.File) ([]string, error) {
	var names []string
	for {
		more, err := opened.Readdirnames(1024)
		names = append(names, more...)
		switch {
		case errors.Is(err, io.EOF):
			slices.Sort(names)
			return names, nil
		case err != nil:
			return nil, err
		case p.skip == nil && p.entries+len(names) > p.limits.Files:
			return nil, fmt.Errorf("%w: more than %d files", ErrLimit, p.limits.Files)
		}
	}
}

func (p *packer) add(name string, above []fs.FileInfo) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	info, err := p.folder.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		if p.skip != nil && p.skip(name, false) {
			return nil
		}
		if info, err = p.folder.Stat(name); err != nil {
			return fmt.Errorf("%s is a link that leads outside the folder or nowhere: %w", name, err)
		}
	}
	if p.skip != nil && p.skip(name, info.IsDir()) {
		return nil
	}
	if err := p.entry(); err != nil {
		return err
	}
	switch {
	case len(name) > maxName || strings.ContainsRune(name, 0):
		return fmt.Errorf("%w: %.100q... is a path of more than %d bytes", ErrLimit, name, maxName)
	case info.IsDir():
		if err := p.tar.WriteHeader(header(name+"/", tar.TypeDir, 0o755, 0)); err != nil {
			return err
		}
		return p.pack(name, above)
	case info.Mode().IsRegular():
		return p.addFile(name)
	default:
		return fmt.Errorf("%s is neither a file nor a folder", name)
	}
}

func (p *packer) addFile(name string) error {
	opened, err := p.open(name)
	if err != nil {
		return err
	}
	defer opened.Close()
	// What was opened counts: it may be another file than a moment ago.
	info, err := opened.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", name, ErrChanged)
	}
	p.see(name, info)
	if err := p.file(info.Size()); err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := p.tar.WriteHeader(header(name, tar.TypeReg, mode, info.Size())); err != nil {
		return err
	}
	for left := info.Size(); left > 0; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		n, err := opened.Read(p.buffer[:min(left, int64(len(p.buffer)))])
		if _, err := p.tar.Write(p.buffer[:n]); err != nil {
			return err
		}
		left -= int64(n)
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return fmt.Errorf("%s: %w", name, ErrChanged)
		case err != nil && left > 0:
			return err
		}
	}
	return nil
}

func header(name string, kind byte, mode, size int64) *tar.Header {
	// PAX, for names of any length and files of any size: the format must not depend on the first of them.
	return &tar.Header{Name: name, Typeflag: kind, Mode: mode, Size: size, Format: tar.FormatPAX}
}

// counter counts the bytes that are written to w.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
