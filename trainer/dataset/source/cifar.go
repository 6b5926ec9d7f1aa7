package source

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trellis/trainer/dataset"
)

// The binary version of CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html): records of a label and 32 x 32 bytes of
// red, green and blue each.
const (
	cifarPrefix  = "data_batch_"
	cifarTest    = "test_batch.bin"
	cifarNames   = "batches.meta.txt"
	cifarSide    = 32
	cifarClasses = 10
	cifarRecord  = 1 + 3*cifarSide*cifarSide
)

func openCIFAR(folder string) (*dataset.Source, error) {
	train, err := filepath.Glob(filepath.Join(escape(folder), cifarPrefix+"*.bin"))
	if err != nil {
		return nil, err
	}
	test := filepath.Join(folder, cifarTest)
	has, err := exists(test)
	if err != nil {
		return nil, err
	}
	switch {
	case len(train) == 0:
		return nil, dataset.Invalidf("%s has the Python version of CIFAR-10: take the binary version, whose files end in .bin",
			folder)
	case !has:
		return nil, dataset.Invalidf("%s has %s1.bin and the like, but not %s", folder, cifarPrefix, cifarTest)
	}
	// By number: 10 after 9.
	slices.SortFunc(train, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	for _, file := range append(slices.Clone(train), test) {
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		if info.Size() == 0 || info.Size()%cifarRecord != 0 {
			return nil, dataset.Invalidf("%s has %d bytes, want a multiple of %d: a label and 3 x %d x %[4]d pixels", file,
				info.Size(), cifarRecord, cifarSide)
		}
	}
	names, err := readNames(filepath.Join(folder, cifarNames))
	if err != nil {
		return nil, err
	}
	return &dataset.Source{
		Format: dataset.CIFAR, Height: cifarSide, Width: cifarSide, Channels: 3, Labeled: true, Classes: names,
		Train: cifarPart(train...), Test: cifarPart(test),
	}, nil
}

// escape makes a path match itself as a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// readNames reads the names of the classes, one a line. They may be missing.
func readNames(path string) ([]string, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 1<<16))
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(text))
	if len(names) != cifarClasses {
		return nil, dataset.Invalidf("%s has %d names, want %d, one a line", path, len(names), cifarClasses)
	}
	return names, nil
}

func cifarPart(files ...string) dataset.Part {
	return func(yield func([]byte, byte) error) error {
		for _, file := range files {
			if err := readCIFAR(file, yield); err != nil {
				return err
			}
		}
		return nil
	}
}

func readCIFAR(path string, yield func([]byte, byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	record := make([]byte, cifarRecord)
	for number := 0; ; number++ {
		if _, err := io.ReadFull(r, record); err == io.EOF {
			return nil
		} else if err != nil {
			return readError(path, number, err)
		}
		if record[0] >= cifarClasses {
			return dataset.Invalidf("image %d of %s has the label %d, want 0 to %d", number+1, path, record[0], cifarClasses-1)
		}
		if err := yield(record[1:], record[0]); err != nil {
			return err
		}
	}
}
