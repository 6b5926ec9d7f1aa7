package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"trellis/command/exit"
	"trellis/coordinator"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// DataOptions are the flags that say where data sets are found.
type DataOptions struct {
	dataSets, cacheDir string
}

// DataFlags adds --data-sets and --cache-dir.
func DataFlags(cmd *cobra.Command) *DataOptions {
	options := new(DataOptions)
	cmd.Flags().StringVar(&options.dataSets, "data-sets", "",
		"`folder` with a folder of IDX files for each data set, besides mnist")
	CacheDirFlag(cmd, &options.cacheDir)
	cmd.Flags().Var(renamedFlag("--data-sets names the folder of data sets now; --data is where studies are kept"),
		"data-dir",
		"renamed")
	cmd.Flag("data-dir").Hidden = true
	return options
}

// renamedFlag is a flag that is no more. Its value is the error for those who still give it.
type renamedFlag string

func (f renamedFlag) String() string { return "" }

func (f renamedFlag) Set(string) error { return errors.New(string(f)) }

func (f renamedFlag) Type() string { return "folder" }

// CacheDirFlag adds --cache-dir.
func CacheDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "cache-dir", "",
		"`folder` for downloaded data sets (default trellis in the user's cache folder)")
}

// dataSets serves the data sets of a library in the API's terms.
type dataSets struct {
	library dataset.Library

	mu sync.Mutex
	// found are the sets that have been asked for, by digest.
	found map[string]*dataset.Set
	// mnist is its digest once it has been found: MNIST is the same for ever, other data sets may change in their
	// folder.
	mnist string
}

var _ coordinator.DataSets = (*dataSets)(nil)

func newDataSets(options *DataOptions) (*dataSets, error) {
	d := &dataSets{
		library: dataset.Library{Dir: options.dataSets, CacheDir: options.cacheDir},
		found:   make(map[string]*dataset.Set),
	}
	if options.dataSets != "" {
		if info, err := os.Stat(options.dataSets); err != nil {
			return nil, exit.Usagef("--data-sets: %w", err)
		} else if !info.IsDir() {
			return nil, exit.Usagef("--data-sets %s is not a folder", options.dataSets)
		}
	}
	if d.library.CacheDir == "" {
		// A service may have no home. MNIST is then looked for in --data-sets and in the Go module cache.
		if dir, err := os.UserCacheDir(); err == nil {
			d.library.CacheDir = filepath.Join(dir, "trellis")
		}
	}
	return d, nil
}

// Find returns the verified data set of that name. Finds follow one another, so that two studies do not download the
// same data set at once.
func (d *dataSets) Find(ctx context.Context, name string) (*trellisv1.DataSet, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == dataset.MNIST && d.mnist != "" {
		return describeDataSet(d.found[d.mnist]), nil
	}
	set, err := d.library.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	d.found[set.Digest] = set
	if name == dataset.MNIST {
		d.mnist = set.Digest
	}
	return describeDataSet(set), nil
}

// Open returns a file of a data set that Find has returned.
func (d *dataSets) Open(_ context.Context, digest, sha256 string) (io.ReadCloser, error) {
	d.mu.Lock()
	set := d.found[digest]
	d.mu.Unlock()
	if set == nil {
		return nil, fmt.Errorf("no data set of digest %s has been found: %w", digest, dataset.ErrUnknown)
	}
	return set.Open(sha256)
}

func describeDataSet(set *dataset.Set) *trellisv1.DataSet {
	described := &trellisv1.DataSet{
		Name: set.Name, Digest: set.Digest, Height: uint32(set.Height), Width: uint32(set.Width),
		TrainImages: uint32(set.TrainImages), TestImages: uint32(set.TestImages), Classes: new(uint32(set.Classes)),
	}
	for _, file := range set.Files {
		described.Files = append(described.Files,
			&trellisv1.DataFile{Name: file.Name, Sha256: file.SHA256, Size: uint64(file.Size)})
	}
	return described
}

// LoadDataSet reads a data set into memory.
func LoadDataSet(ctx context.Context, options *DataOptions, name string) (*dataset.Data, error) {
	sets, err := newDataSets(options)
	if err != nil {
		return nil, err
	}
	set, err := sets.library.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	return set.Load()
}

// FindDataSet describes the data set of that name.
func FindDataSet(ctx context.Context, options *DataOptions, name string) (*trellisv1.DataSet, error) {
	sets, err := newDataSets(options)
	if err != nil {
		return nil, err
	}
	return sets.Find(ctx, name)
}
