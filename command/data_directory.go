package command

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"trellis/coordinator/replication"
)

// dataHomeVariable names the environment variable that says where a user's programs keep their data.
const dataHomeVariable = "XDG_DATA_HOME"

// defaultDataDirectory is trellis in the user's data folder. The error says that there is none.
func defaultDataDirectory() (string, error) {
	if dir := os.Getenv(dataHomeVariable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "trellis"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the user's data folder: %w", err)
	}
	return filepath.Join(home, ".local", "share", "trellis"), nil
}

// dataDirectory is where a coordinator keeps what it must not lose.
type dataDirectory struct {
	// path is absolute. It is empty if everything is kept in memory.
	path string
	// found says that there was something in it.
	found bool
	// flag is the one that names it; empty for --data. It is --coordinator where path is an address.
	flag string
}

// namedBy is the flag that names the directory.
func (d dataDirectory) namedBy() string { return cmp.Or(d.flag, "--data") }

// openDataDirectory looks at a data directory, and makes it if it is not there, for its owner alone. An empty path is
// none.
func openDataDirectory(path string) (dataDirectory, error) {
	if path == "" {
		return dataDirectory{}, nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return dataDirectory{}, fmt.Errorf("find the data directory %s: %w", path, err)
	}
	directory := dataDirectory{path: absolute}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return directory, explainDirectory(fmt.Errorf("make the data directory: %w", err))
	}
	entries, err := os.ReadDir(absolute)
	if err != nil {
		return directory, explainDirectory(fmt.Errorf("read the data directory: %w", err))
	}
	for _, entry := range entries {
		// A file system of its own has one from the start.
		directory.found = directory.found || entry.Name() != "lost+found"
	}
	return directory, nil
}

// describe says in a sentence where the studies are.
func (d dataDirectory) describe() string {
	switch {
	case d.path == "":
		return "Studies are in memory only: they end with this process."
	case d.found:
		return fmt.Sprintf("Studies are in %s, and go on from there.", d.path)
	default:
		return fmt.Sprintf("Studies are in %s, which is new.", d.path)
	}
}

// explainDirectory adds to why a data directory can't be used what a person can do about it.
func explainDirectory(err error) error {
	advice := ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		advice = "make room on the disk, or give another folder with --data"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		advice = "this user may not write there: give another folder with --data"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST):
		advice = "that is no folder: give one with --data"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// explainLog adds to what a coordinator can't go on after what a person can do about it, where its log does not say that
// itself.
func (d dataDirectory) explainLog(err error) error {
	switch {
	case errors.Is(err, replication.ErrLocked):
		// It ends with: give this one a directory of its own.
		return fmt.Errorf("%w with %s", err, d.namedBy())
	case errors.Is(err, replication.ErrDamaged):
		return fmt.Errorf("%w. The system's log may say more of the disk. A backup can be restored into another directory: start "+
			"with a new one as --data, then trellis restore FILE. In a cluster, remove this node, and add it again with an empty "+
			"directory", err)
	default:
		return err
	}
}

// durabilityOptions are the flags that say where a coordinator keeps studies.
type durabilityOptions struct {
	data     string
	inMemory bool
}

// path returns the data directory that the flags name, or the default one. It is empty if studies are kept in memory.
func (o *durabilityOptions) path(cmd *cobra.Command) (string, error) {
	switch given := cmd.Flags().Changed("data"); {
	case o.inMemory && given:
		return "", usageErrorf("--data says where studies are kept, and --in-memory that they are not: give one")
	case o.inMemory:
		return "", nil
	case given && o.data == "":
		return "", usageErrorf("--data takes a folder; to keep studies in memory only, give --in-memory")
	case given:
		return o.data, nil
	}
	dir, err := defaultDataDirectory()
	if err != nil {
		return "", usageErrorf("%w: say with --data where studies are kept, or keep them in memory only: --in-memory", err)
	}
	return dir, nil
}
