package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is how many bytes an archive can make the decoder keep. Pack's archives need 4 MiB.
const maxWindow = 32 << 20

// Unpack writes the content of an archive into a folder, which should be empty: a file that exists is an error.
func Unpack(ctx context.Context, r io.Reader, folder *os.Root, limits Limits) (Info, error) {
	decoded, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return Info{}, err
	}
	defer decoded.Close()
	reader := tar.NewReader(decoded)
	tally := tally{limits: limits}
	made := folders{".": true}
	for {
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
		entry, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return Info{Files: tally.files, Bytes: tally.bytes}, nil
		case err != nil:
			return Info{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if err := tally.entry(); err != nil {
			return Info{}, err
		}
		name, err := local(entry.Name)
		if err != nil {
			return Info{}, err
		}
		if err := made.above(name, &tally); err != nil {
			return Info{}, err
		}
		switch entry.Typeflag {
		case tar.TypeDir:
			made[name] = true
			err = folder.MkdirAll(name, 0o755)
		case tar.TypeReg:
			if err = tally.file(entry.Size); err == nil {
				err = write(ctx, folder, name, fs.FileMode(entry.Mode)&0o111, reader)
			}
		default:
			err = fmt.Errorf("%w: %q is neither a file nor a folder", ErrInvalid, name)
		}
		if err != nil {
			return Info{}, err
		}
	}
}

// folders are the paths of folders that were made.
type folders map[string]bool

// above counts the folders that a path lies in and that no entry has named: they are made with it.
func (f folders) above(name string, tally *tally) error {
	for above := path.Dir(name); !f[above]; above = path.Dir(above) {
		if err := tally.entry(); err != nil {
			return err
		}
		f[above] = true
	}
	return nil
}

// local returns the path of an entry if it is one that Pack writes.
func local(name string) (string, error) {
	trimmed := strings.TrimSuffix(name, "/")
	if !fs.ValidPath(trimmed) || trimmed == "." || len(trimmed) > maxName || strings.Count(trimmed, "/") >= maxDepth ||
		strings.ContainsRune(trimmed, 0) || strings.ContainsRune(trimmed, '\\') && os.PathSeparator == '\\' {
		return "", fmt.Errorf("%w: it has a file named %.100q", ErrInvalid, name)
	}
	return trimmed, nil
}

func write(ctx context.Context, folder *os.Root, name string, executable fs.FileMode, content io.Reader) error {
	mode := fs.FileMode(0o644)
	if executable != 0 {
		mode = 0o755
	}
	if above := path.Dir(name); above != "." {
		if err := folder.MkdirAll(above, 0o755); err != nil {
			return err
		}
	}
	file, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, interruptible{ctx, content})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends within %q", ErrInvalid, name)
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// interruptible is a reader that ends with the context.
type interruptible struct {
	ctx context.Context //nolint:containedctx // A reader has no other way to get it.
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
