package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"trellis/command/configuration"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// DataOptions are the flags that say where data sets are found.
type DataOptions struct {
	dataSets, cacheDir string
	// cmd has the flags.
	cmd *cobra.Command
}

// DataFlags adds --data-sets and --cache-dir.
func DataFlags(cmd *cobra.Command) *DataOptions {
	options := &DataOptions{cmd: cmd}
	cmd.Flags().StringVar(&options.dataSets, "data-sets", "",
		"`folder` with a subfolder for each data set in addition to mnist (default "+dataSetsFolder+" in the user's data folder)")
	CacheDirFlag(cmd, &options.cacheDir)
	cmd.Flags().Var(renamedFlag("renamed: use --data-sets for the folder of data sets; --data is the folder of "+
		"studies"),
		"data-dir",
		"renamed")
	cmd.Flag("data-dir").Hidden = true
	return options
}

// dataSetsNamed is what people know the folder of data sets by: the flag, or the variable or the setting that names it.
func (o *DataOptions) dataSetsNamed() string {
	if o.cmd == nil {
		return "--data-sets"
	}
	return configuration.NameOf(o.cmd, "data-sets")
}

// dataSetsFolder is beside the data directory of coordinators.
const dataSetsFolder = "trellis-data-sets"

// Library is where the flags say that data sets are. Its folder need not exist.
func (o *DataOptions) Library() dataset.Library {
	library := dataset.Library{Dir: o.dataSets, CacheDir: o.cacheDir}
	if library.Dir == "" {
		// A service may have no home. It then has mnist, and what --data-sets names.
		if dir, err := DefaultDirectory(); err == nil {
			library.Dir = filepath.Join(filepath.Dir(dir), dataSetsFolder)
		}
	}
	if library.CacheDir == "" {
		// Likewise, MNIST is then looked for in --data-sets and in the Go module cache.
		if dir, err := os.UserCacheDir(); err == nil {
			library.CacheDir = filepath.Join(dir, "trellis")
		}
	}
	return library
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

// LoadDataSet reads a data set into memory.
func LoadDataSet(ctx context.Context, options *DataOptions, name string) (*dataset.Data, error) {
	sets, err := newDataSets(ctx, options)
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
	sets, err := newDataSets(ctx, options)
	if err != nil {
		return nil, err
	}
	return sets.Find(ctx, name)
}
