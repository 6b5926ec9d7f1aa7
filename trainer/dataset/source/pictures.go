package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"trellis/trainer/dataset"
)

// picture is a file of one image.
type picture struct {
	// file is its path in the folder, with slashes.
	file  string
	class string
	// height, width and gray are what its header says.
	height, width int
	gray          bool
}

// folder is a folder of pictures, in which each class has one.
type folder struct {
	// ctx ends looking at the pictures, of which there may be very many.
	ctx     context.Context
	root    string
	options Options
	source  *dataset.Source
	// classes are the labels by name. Nil: there are none.
	classes map[string]byte
	// unfit are the first errors of pictures, of failed.
	unfit  []error
	failed int
	// fit are the pictures that go together by their headers, by part, and total is how many there were.
	fit   map[string][]picture
	total int
}

// Names of the folders of parts.
var partNames = map[string]string{
	"train": train, "training": train, "val": validation, "valid": validation, "validation": validation, "test": test,
	"testing": test,
}

// inOrder are the parts, in the order in which they are looked at.
var inOrder = []string{train, validation, test}

func openPictures(ctx context.Context, root string, options Options) (*dataset.Source, error) {
	f := &folder{ctx: ctx, root: root, options: options, source: &dataset.Source{Format: dataset.Pictures}}
	folders, err := f.parts()
	if err != nil {
		return nil, err
	}
	pictures := make(map[string][]picture)
	for _, part := range inOrder {
		if folders[part] == "" {
			continue
		}
		if pictures[part], err = f.list(folders[part]); err != nil {
			return nil, err
		}
	}
	if err := f.inspect(pictures); err != nil {
		return nil, err
	}
	if err := f.label(pictures); err != nil {
		return nil, err
	}
	for _, part := range pictures {
		shuffle(part)
	}
	f.fit = pictures
	// Those to validate come last, which is where a study takes them from.
	f.source.Train = f.part(slices.Concat(pictures[train], pictures[validation]))
	if pictures[test] != nil {
		f.source.Test = f.part(pictures[test])
	}
	return f.source, nil
}

// parts returns the folders of the parts in the root, or the root itself as all there is to train.
func (f *folder) parts() (map[string]string, error) {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return nil, err
	}
	folders := make(map[string]string)
	var others []string
	for _, entry := range entries {
		part := partNames[strings.ToLower(entry.Name())]
		if part == "" || !f.isFolder(entry.Name()) {
			others = append(others, entry.Name())
			continue
		}
		if other := folders[part]; other != "" {
			return nil, dataset.Invalidf("%s has the folders %s and %s: keep one", f.root, other, entry.Name())
		}
		folders[part] = entry.Name()
	}
	if folders[train] == "" {
		return map[string]string{train: "."}, nil
	}
	for _, name := range others {
		if hidden(name) || !f.isFolder(name) {
			f.source.LeftOut.Add(name, f.reason(name), nil)
			continue
		}
		has, err := f.hasPictures(name)
		if err != nil {
			return nil, err
		}
		if has {
			return nil, dataset.Invalidf("%s has the folder %s, and beside it %s with pictures: if all are classes, move them into a "+
				"new folder named train; if %s has the pictures for training, move %s elsewhere",
				f.root, folders[train], name, folders[train], name)
		}
		f.source.LeftOut.Add(name, dataset.OtherFolder, nil)
	}
	return folders, nil
}

// isFolder says whether something in the folder is one itself, or a link to one.
func (f *folder) isFolder(name string) bool {
	info, err := os.Stat(filepath.Join(f.root, filepath.FromSlash(name)))
	return err == nil && info.IsDir()
}

// hasPictures says whether there is a picture anywhere in a folder.
func (f *folder) hasPictures(name string) (has bool, err error) {
	err = f.walk(name, func(file string, entry fs.DirEntry) error {
		switch {
		case hidden(entry.Name()) && entry.IsDir():
			return fs.SkipDir
		case !entry.IsDir() && !hidden(entry.Name()) && isPicture(entry.Name()):
			has = true
			return fs.SkipAll
		}
		return nil
	})
	return has, err
}

// walk visits what is in a folder, which may be a link.
func (f *folder) walk(name string, visit func(file string, entry fs.DirEntry) error) error {
	err := fs.WalkDir(os.DirFS(f.root), name, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case f.ctx.Err() != nil:
			return context.Cause(f.ctx)
		case file == name:
			return nil
		}
		return visit(file, entry)
	})
	if err != nil {
		return fmt.Errorf("list the pictures of %s: %w", f.root, err)
	}
	return nil
}

// reason is why something is left out that is not where images should be.
func (f *folder) reason(name string) dataset.Reason {
	switch {
	case hidden(name):
		return dataset.Hidden
	case isPicture(name):
		return dataset.NoClass
	}
	return dataset.NotAnImage
}

func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{"Thumbs.db", "desktop.ini", "__MACOSX"}, name)
}

func isPicture(name string) bool {
	return slices.Contains([]string{".png", ".jpg", ".jpeg"}, strings.ToLower(path.Ext(name)))
}

// list returns the pictures in the folder of a part: those in the folders of classes, or without any those beside. Links are
// followed to files, and to folders of classes; not to folders within these, which might lead back.
func (f *folder) list(part string) (pictures []picture, err error) {
	var beside []picture
	var visit func(file string, entry fs.DirEntry) error
	visit = func(file string, entry fs.DirEntry) error {
		within := strings.TrimPrefix(file, part+"/")
		if part == "." {
			within = file
		}
		class, _, inFolder := strings.Cut(within, "/")
		switch name := entry.Name(); {
		case hidden(name):
			f.source.LeftOut.Add(file, dataset.Hidden, nil)
			if entry.IsDir() {
				return fs.SkipDir
			}
		case entry.IsDir():
		case entry.Type()&fs.ModeSymlink != 0 && f.isFolder(file):
			if !inFolder {
				return f.walk(file, visit)
			}
			f.source.LeftOut.Add(file, dataset.LinkedFolder, nil)
		case !isPicture(name):
			f.source.LeftOut.Add(file, dataset.NotAnImage, nil)
		case inFolder:
			pictures = append(pictures, picture{file: file, class: class})
		default:
			beside = append(beside, picture{file: file})
		}
		return nil
	}
	if err := f.walk(part, visit); err != nil {
		return nil, err
	}
	if len(pictures) == 0 {
		pictures, beside = beside, nil
	}
	for _, p := range beside {
		f.source.LeftOut.Add(p.file, dataset.NoClass, nil)
	}
	if len(pictures) == 0 {
		return nil, dataset.Invalidf("%s has no images: want a folder of PNG or JPEG files for each class, or IDX files, NumPy's "+
			"arrays, or data_batch_1.bin and the like of CIFAR-10", filepath.Join(f.root, part))
	}
	return pictures, nil
}

// inspect reads the headers of all pictures, and leaves those that do not go with the others.
func (f *folder) inspect(parts map[string][]picture) error {
	sizes := make(map[[2]int]int)
	readable := 0
	for _, part := range inOrder {
		pictures := parts[part]
		f.total += len(pictures)
		for i := range pictures {
			if f.ctx.Err() != nil {
				return context.Cause(f.ctx)
			}
			if err := f.readHeader(&pictures[i]); err != nil {
				f.refuse(pictures[i].file, err)
				pictures[i].height = 0
				continue
			}
			sizes[[2]int{pictures[i].height, pictures[i].width}]++
			readable++
		}
	}
	var most [2]int
	for size, count := range sizes {
		if count > sizes[most] || count == sizes[most] && (size[0] > most[0] || size[0] == most[0] && size[1] > most[1]) {
			most = size
		}
	}
	gray := true
	for _, part := range inOrder {
		parts[part] = slices.DeleteFunc(parts[part], func(p picture) bool {
			if p.height == 0 {
				return true
			}
			if other := [2]int{p.height, p.width}; other != most {
				f.refuse(p.file, dataset.Invalidf("it has %d x %d pixels, %d of %d have %d x %d",
					p.height, p.width, sizes[most], readable, most[0], most[1]))
				return true
			}
			gray = gray && p.gray
			return false
		})
	}
	if f.failed == 0 && len(parts[train]) == 0 {
		return dataset.Invalidf("%s has no picture that can be imported", f.root)
	}
	f.source.Height, f.source.Width, f.source.Channels = most[0], most[1], f.options.Channels
	if f.source.Channels == 0 {
		if f.source.Channels = 3; gray {
			f.source.Channels = 1
		}
	}
	if f.failed > 0 {
		f.fit = parts
		return f.refused(picture{})
	}
	return nil
}

// refuse notes a picture that can't be imported.
func (f *folder) refuse(file string, err error) {
	if f.options.SkipUnfit {
		f.source.LeftOut.Add(file, dataset.Unfit, err)
		return
	}
	f.failed++
	if len(f.unfit) < 10 {
		f.unfit = append(f.unfit, fmt.Errorf("%s: %w", filepath.Join(f.root, filepath.FromSlash(file)), err))
	}
}

// refused is the error of all pictures that can't be imported, once one can't: of those that were refused and of those
// whose pixels, which it reads, can't be read. known is one of these that was refused already.
func (f *folder) refused(known picture) error {
	planes := make([]byte, f.source.Channels*f.source.Height*f.source.Width)
	left := make(map[string]int)
	for _, part := range inOrder {
		for _, p := range f.fit[part] {
			if f.ctx.Err() != nil {
				return context.Cause(f.ctx)
			}
			if p.file == known.file {
				continue
			}
			if err := f.read(p, planes); err != nil {
				f.refuse(p.file, err)
				continue
			}
			left[part]++
		}
	}
	slices.SortFunc(f.unfit, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if more := f.failed - len(f.unfit); more > 0 {
		f.unfit = append(f.unfit, fmt.Errorf("and %d more", more))
	}
	if left[train]+left[validation] == 0 || f.fit[test] != nil && left[test] == 0 {
		return fmt.Errorf("%d of %d pictures can't be imported, and no others are left to train or to test:\n%w",
			f.failed, f.total, errors.Join(f.unfit...))
	}
	return fmt.Errorf("%d of %d %w:\n%w", f.failed, f.total, ErrUnfit, errors.Join(f.unfit...))
}

func (f *folder) readHeader(p *picture) error {
	file, err := f.open(p.file)
	if err != nil {
		return err
	}
	defer file.Close()
	config, format, err := image.DecodeConfig(file)
	if err != nil {
		return unreadable(err)
	}
	if p.gray, err = inspectModel(config.ColorModel, format); err != nil {
		return err
	}
	p.height, p.width = config.Height, config.Width
	if err := checkSides("it", p.height, p.width); err != nil {
		return err
	}
	if config.ColorModel != color.NRGBAModel || f.options.Channels > 0 {
		return nil
	}
	// Whether it is transparent, or gray, only its pixels tell.
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	decoded, _, err := image.Decode(file)
	if err != nil {
		return unreadable(err)
	}
	p.gray, err = isGray(decoded)
	return err
}

// open opens a picture. Looking first keeps a pipe or a device from being opened, which could block forever.
func (f *folder) open(name string) (*os.File, error) {
	file := filepath.Join(f.root, filepath.FromSlash(name))
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, dataset.Invalidf("it is not a regular file")
	}
	return os.Open(file)
}

// label gives each class a label: in the order of their numbers if they are numbers, else of their names.
func (f *folder) label(parts map[string][]picture) error {
	classes := make(map[string]byte)
	for part, pictures := range parts {
		labeled := len(pictures) > 0 && pictures[0].class != ""
		if len(pictures) > 0 && labeled != (parts[train][0].class != "") {
			return dataset.Invalidf("in %s, the pictures for training and those of part %s are not both in folders of classes",
				f.root, part)
		}
		for _, p := range pictures {
			classes[p.class] = 0
		}
	}
	if f.source.Labeled = parts[train][0].class != ""; !f.source.Labeled {
		return nil
	}
	var names []string
	numbers := true
	for name := range classes {
		names = append(names, name)
		_, err := strconv.ParseUint(name, 10, 32)
		numbers = numbers && err == nil
	}
	if len(names) > dataset.MaxClasses {
		return dataset.Invalidf("%s has %d folders of classes, at most %d are told apart", f.root, len(names), dataset.MaxClasses)
	}
	slices.SortFunc(names, func(a, b string) int {
		if numbers {
			x, _ := strconv.ParseUint(a, 10, 32)
			y, _ := strconv.ParseUint(b, 10, 32)
			return cmp.Or(cmp.Compare(x, y), strings.Compare(a, b))
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		classes[name] = byte(i)
	}
	f.source.Classes, f.classes = names, classes
	return nil
}

// shuffle orders pictures by the SHA-256 of their paths: the same way everywhere, and not class by class, so that the last
// ones, which validate, are of all classes.
func shuffle(pictures []picture) {
	keys := make(map[string][sha256.Size]byte, len(pictures))
	for _, p := range pictures {
		keys[p.file] = sha256.Sum256([]byte(p.file))
	}
	slices.SortFunc(pictures, func(a, b picture) int {
		x, y := keys[a.file], keys[b.file]
		return bytes.Compare(x[:], y[:])
	})
}

// part reads pictures in their order.
func (f *folder) part(pictures []picture) dataset.Part {
	return func(yield func([]byte, byte) error) error {
		planes := make([]byte, f.source.Channels*f.source.Height*f.source.Width)
		refused := 0
		for _, p := range pictures {
			if err := f.read(p, planes); err != nil {
				f.refuse(p.file, err)
				if !f.options.SkipUnfit {
					return f.refused(p)
				}
				if refused++; refused == len(pictures) {
					return dataset.Invalidf("none of %d pictures can be imported, such as %s: %w", refused, p.file, err)
				}
				continue
			}
			if err := yield(planes, f.classes[p.class]); err != nil {
				return err
			}
		}
		return nil
	}
}

func (f *folder) read(p picture, planes []byte) error {
	file, err := f.open(p.file)
	if err != nil {
		return err
	}
	defer file.Close()
	// A header that has changed meanwhile would decode to anything.
	config, format, err := image.DecodeConfig(file)
	if err != nil {
		return unreadable(err)
	}
	if config.Height != f.source.Height || config.Width != f.source.Width {
		return dataset.Invalidf("it has changed meanwhile")
	}
	if _, err := inspectModel(config.ColorModel, format); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	decoded, _, err := image.Decode(file)
	if err != nil {
		return unreadable(err)
	}
	return toPlanes(decoded, f.source.Channels, planes)
}
