package dataset

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var (
	// ErrExists means that there is a data set with the name already.
	ErrExists = errors.New("there is a data set of this name already")
	// ErrNotImported means that a folder was put there by its owner, and is not the library's to remove.
	ErrNotImported = errors.New("its files were not imported")
)

// What is being imported is in a folder with this prefix, which can't be a data set's name.
const importPrefix = ".import-"

// DefaultTestEvery is about MNIST's share of test images.
const DefaultTestEvery = 7

// Import reads a source once and makes it the data set of that name: IDX files with a manifest, which appear together once
// they are on disk. It holds one image in memory. If the source has no test images, every one of the number testEvery of each
// class becomes one. It returns ErrExists if the name is taken, ErrTooLarge, or an error of the source.
func (l *Library) Import(ctx context.Context, name string, source *Source, testEvery int) (_ *Manifest, err error) {
	if err := l.CheckFree(name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("import %s: %w", name, err)
	}
	if err := l.sweepImports(time.Now(), os.RemoveAll); err != nil && l.Warn != nil {
		l.Warn(fmt.Errorf("remove what an earlier import has left behind: %w", err))
	}
	folder := filepath.Join(l.Dir, importPrefix+rand.Text())
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, fmt.Errorf("import %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("import %s: %w", name, errors.Join(err, os.RemoveAll(folder)))
		}
	}()
	manifest, err := l.convert(ctx, folder, source, testEvery)
	if err != nil {
		return nil, err
	}
	if err := manifest.write(folder); err != nil {
		return nil, err
	}
	if err := syncPath(folder); err != nil {
		return nil, err
	}
	if err := os.Rename(folder, filepath.Join(l.Dir, name)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, ErrExists
		}
		return nil, err
	}
	return manifest, syncPath(l.Dir)
}

// CheckFree says whether a data set can be imported under a name. It returns ErrExists if the name is taken, and ErrInvalid if no
// data set can have it.
func (l *Library) CheckFree(name string) error {
	if err := l.checkFree(name); err != nil {
		return fmt.Errorf("import %s: %w", name, err)
	}
	return nil
}

func (l *Library) checkFree(name string) error {
	switch {
	case !names.MatchString(name):
		return invalidf("a name consists of letters, digits, dots, hyphens and underscores, and starts with a letter or a digit")
	case name == MNIST:
		return invalidf("the name is that of the digits that come with this program: choose another")
	}
	if _, err := os.Lstat(filepath.Join(l.Dir, name)); err == nil {
		return ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweepImports removes what imports that were killed have left behind. What can't be removed stays.
func (l *Library) sweepImports(now time.Time, remove func(path string) error) error {
	entries, err := os.ReadDir(l.Dir)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), importPrefix) {
			continue
		}
		if info, err := entry.Info(); err != nil || now.Sub(info.ModTime()) < temporaryAge {
			continue
		}
		err = errors.Join(err, remove(filepath.Join(l.Dir, entry.Name())))
	}
	return err
}

// Remove removes an imported data set. ErrUnknown if there is none; ErrNotImported if its owner has put it there.
func (l *Library) Remove(name string) error {
	if name == MNIST || !names.MatchString(name) || !l.hasFolder(name) {
		return fmt.Errorf("remove %s: %w", name, ErrUnknown)
	}
	folder := filepath.Join(l.Dir, name)
	// A manifest that is damaged is one too.
	if _, err := os.Stat(filepath.Join(folder, manifestName)); err != nil {
		return fmt.Errorf("remove %s: %w", folder, ErrNotImported)
	}
	// Renamed first, so that nobody finds half of it.
	gone := filepath.Join(l.Dir, importPrefix+rand.Text())
	if err := os.Rename(folder, gone); err != nil {
		return fmt.Errorf("remove %s: %w", folder, err)
	}
	return os.RemoveAll(gone)
}

// convert writes a source's files into a folder.
func (l *Library) convert(ctx context.Context, folder string, source *Source, testEvery int) (_ *Manifest, err error) {
	c := &conversion{
		source: source, tally: newTally(source.Channels, source.Labeled), left: cmp.Or(l.MaxBytes, DefaultMaxBytes),
	}
	c.limit = c.left
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.create(folder); err != nil {
		return nil, err
	}
	manifest := &Manifest{
		Version: manifestVersion, Format: source.Format,
		Height: source.Height, Width: source.Width, Channels: source.Channels, Classes: source.Classes,
	}
	if err := source.Train(func(pixels []byte, label byte) error {
		part := trainPart
		if source.Test == nil && c.seen(label)%testEvery == testEvery-1 {
			part = testPart
		}
		return cmp.Or(context.Cause(ctx), c.add(part, pixels, label))
	}); err != nil {
		return nil, err
	}
	if source.Test == nil {
		manifest.TestEvery = testEvery
	} else if err := source.Test(func(pixels []byte, label byte) error {
		return cmp.Or(context.Cause(ctx), c.add(testPart, pixels, label))
	}); err != nil {
		return nil, err
	}
	switch {
	case c.tally.parts[trainPart].images == 0:
		return nil, invalidf("it has no training images")
	case c.tally.parts[testPart].images == 0 && source.Test == nil:
		return nil, invalidf("it has no test images, and one of every %d images of a class would become one, but no class has so many: "+
			"set --test-every to a smaller number", testEvery)
	case c.tally.parts[testPart].images == 0:
		return nil, invalidf("it has no test images")
	}
	if err := c.finish(ctx, manifest); err != nil {
		return nil, err
	}
	manifest.Statistics = c.tally.statistics(len(source.Classes))
	manifest.LeftOut = source.LeftOut
	return manifest, nil
}

// conversion is an import under way.
type conversion struct {
	source *Source
	tally  *tally
	files  []*output
	// left is how many bytes may still be written, of limit.
	left, limit int64
}

// output is a file that is being written.
type output struct {
	file   *os.File
	buffer *bufio.Writer
	header header
}

func (c *conversion) create(folder string) error {
	for _, name := range fileNames(c.source.Channels > 1, c.source.Labeled) {
		file, err := os.OpenFile(filepath.Join(folder, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		out := &output{file: file, buffer: bufio.NewWriterSize(file, blockSize)}
		if out.header.kind = (File{Name: name}).kind(); out.header.kind != labelsKind {
			out.header.channels, out.header.height, out.header.width = c.source.Channels, c.source.Height, c.source.Width
		}
		c.files = append(c.files, out)
		c.left -= out.header.headerSize()
		// How many there are is known at the end only.
		if _, err := out.buffer.Write(out.header.bytes()); err != nil {
			return err
		}
	}
	return nil
}

// seen is how many images with the label there have been.
func (c *conversion) seen(label byte) int {
	return c.tally.parts[trainPart].classes[label] + c.tally.parts[testPart].classes[label]
}

func (c *conversion) add(part int, pixels []byte, label byte) error {
	files := c.files[:len(c.files)/2]
	if part == testPart {
		files = c.files[len(c.files)/2:]
	}
	for i, content := range [][]byte{pixels, {label}}[:len(files)] {
		out := files[i]
		if int64(len(content)) != out.header.item() {
			return fmt.Errorf("an image has %d bytes, want %d", len(content), out.header.item())
		}
		if c.left -= int64(len(content)); c.left < 0 {
			return fmt.Errorf("it has more than %d bytes, uncompressed: %w", c.limit, ErrTooLarge)
		}
		if out.header.count == math.MaxUint32 {
			return fmt.Errorf("it has more than %d images: %w", out.header.count, ErrTooLarge)
		}
		out.header.count++
		if _, err := out.buffer.Write(content); err != nil {
			return err
		}
	}
	c.tally.add(part, pixels, label)
	return nil
}

// finish completes the files and notes what they are, as read from the disk.
func (c *conversion) finish(ctx context.Context, m *Manifest) error {
	var files []File
	for _, out := range c.files {
		if err := out.buffer.Flush(); err != nil {
			return err
		}
		if _, err := out.file.WriteAt(out.header.bytes(), 0); err != nil {
			return err
		}
		if err := out.file.Sync(); err != nil {
			return err
		}
		f := File{Name: filepath.Base(out.file.Name()), Size: out.header.size()}
		sum, blocks := sha256.New(), new(blockSums)
		n, err := io.Copy(io.MultiWriter(sum, blocks, whileWanted{ctx}), io.NewSectionReader(out.file, 0, math.MaxInt64))
		if err != nil {
			return err
		}
		if n != f.Size {
			return fmt.Errorf("%s has %d bytes on disk, want %d", f.Name, n, f.Size)
		}
		f.SHA256 = hex.EncodeToString(sum.Sum(nil))
		var text strings.Builder
		for _, block := range blocks.sums {
			fmt.Fprintf(&text, "%08x", block)
		}
		files = append(files, f)
		m.Files = append(m.Files, manifestFile{Name: f.Name, SHA256: f.SHA256, Size: f.Size, Blocks: text.String()})
	}
	m.Digest = Digest(files)
	return nil
}

// whileWanted fails to write once a context is done.
type whileWanted struct{ ctx context.Context }

func (w whileWanted) Write(b []byte) (int, error) { return len(b), context.Cause(w.ctx) }

func (c *conversion) close() (err error) {
	for _, out := range c.files {
		err = errors.Join(err, out.file.Close())
	}
	return err
}

// syncPath makes what a folder contains last.
func syncPath(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
