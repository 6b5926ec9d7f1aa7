package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
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
		"`folder` with a subfolder of IDX files for each data set in addition to mnist")
	CacheDirFlag(cmd, &options.cacheDir)
	cmd.Flags().Var(renamedFlag("renamed: use --data-sets for the folder of data sets; --data is the folder of "+
		"studies"),
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
	// found are the sets that have been found, by digest.
	found map[string]*dataset.Set
	// mnist is its digest once it has been found: MNIST is the same forever, other data sets may change in their
	// folder.
	mnist string
	// read are what folders had in them when they were read last, by name: they are not read again as long as their files
	// look the same.
	read map[string]folder
}

// folder is what was in a folder.
type folder struct {
	// look is what the folder's files looked like: their names, sizes and times of change.
	look string
	set  *dataset.Set
}

var _ coordinator.DataSets = (*dataSets)(nil)

func newDataSets(options *DataOptions) (*dataSets, error) {
	d := &dataSets{
		library: dataset.Library{Dir: options.dataSets, CacheDir: options.cacheDir},
		found:   make(map[string]*dataset.Set),
		read:    make(map[string]folder),
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
	set, err := d.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return describeDataSet(set), nil
}

func (d *dataSets) find(ctx context.Context, name string) (*dataset.Set, error) {
	if name == dataset.MNIST && d.mnist != "" {
		return d.found[d.mnist], nil
	}
	look := d.look(name)
	set, err := d.library.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	d.found[set.Digest] = set
	if name == dataset.MNIST {
		d.mnist = set.Digest
	} else {
		d.read[name] = folder{look, set}
	}
	return set, nil
}

// FindDigest returns the data set of that digest: the one of that name, or of another.
func (d *dataSets) FindDigest(
	ctx context.Context, digest, name string,
) (*trellisv1.DataSet, *trellisv1.WaitingFor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	named, err := d.findAgain(ctx, name)
	if err == nil && named.Digest == digest {
		return describeDataSet(named), nil
	}
	for _, other := range d.others(name) {
		if set, err := d.findAgain(ctx, other); err == nil && set.Digest == digest {
			return describeDataSet(set), nil
		}
	}
	if err != nil {
		return nil, &trellisv1.WaitingFor{
			Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING, Message: err.Error(),
		}
	}
	return nil, &trellisv1.WaitingFor{
		Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED, Found: named.Digest,
	}
}

// others are the folders of the library besides the one of that name.
func (d *dataSets) others(name string) (names []string) {
	available, err := d.library.Available()
	if err != nil {
		return nil // What is wrong with the folder is told of the name.
	}
	for _, folder := range available {
		if folder.Name != name && folder.Name != dataset.MNIST && folder.Err == nil {
			names = append(names, folder.Name)
		}
	}
	return names
}

// findAgain is find, which does not read a folder again whose files look the same.
func (d *dataSets) findAgain(ctx context.Context, name string) (*dataset.Set, error) {
	if read, known := d.read[name]; known && read.look != "" && read.look == d.look(name) {
		d.found[read.set.Digest] = read.set
		return read.set, nil
	}
	return d.find(ctx, name)
}

// look is what the files in a folder look like, empty if that can't be told.
func (d *dataSets) look(name string) string {
	path := filepath.Join(d.library.Dir, name)
	entries, err := os.ReadDir(path)
	if err != nil || d.library.Dir == "" {
		return ""
	}
	var look strings.Builder
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(path, entry.Name())) // It follows links.
		if err != nil {
			return ""
		}
		fmt.Fprintf(&look, "%q %d %d\n", entry.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return look.String()
}

// Open returns a file of a data set that Find or FindDigest has returned.
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
