package node

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"trellis/command/exit"
	"trellis/coordinator/replication"
)

// DataHomeVariable names the environment variable that says where a user's programs keep their data.
const DataHomeVariable = "XDG_DATA_HOME"

// DefaultDirectory is trellis in the user's data folder. The error says that there is none.
func DefaultDirectory() (string, error) {
	if dir := os.Getenv(DataHomeVariable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "trellis"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the user's data folder: %w", err)
	}
	return filepath.Join(home, ".local", "share", "trellis"), nil
}

// Directory is where a coordinator keeps what it must not lose.
type Directory struct {
	// Path is absolute. It is empty if everything is kept in memory.
	Path string
	// Found says that there was something in it.
	Found bool
	// Flag is the one that names it; empty for --data. It is --coordinator where path is an address.
	Flag string
}

// NamedBy is the flag that names the directory.
func (d Directory) NamedBy() string { return cmp.Or(d.Flag, "--data") }

// openDirectory looks at a data directory that a flag has named, and makes it if it is not there, for its owner alone.
// An empty path is none.
func openDirectory(path, flag string) (Directory, error) {
	if path == "" {
		return Directory{}, nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return Directory{}, fmt.Errorf("find the data directory %s: %w", path, err)
	}
	directory := Directory{Path: absolute, Flag: flag}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return directory, explainDirectory(fmt.Errorf("make the data directory: %w", err))
	}
	entries, err := os.ReadDir(absolute)
	if err != nil {
		return directory, explainDirectory(fmt.Errorf("read the data directory: %w", err))
	}
	for _, entry := range entries {
		// A file system of its own has one from the start.
		directory.Found = directory.Found || entry.Name() != "lost+found"
	}
	return directory, nil
}

// Describe says in a sentence where the studies are.
func (d Directory) Describe() string {
	switch {
	case d.Path == "":
		return "Studies are in memory only: they end with this process."
	case d.Found:
		return fmt.Sprintf("Studies are in %s, and go on from there.", d.Path)
	default:
		return fmt.Sprintf("Studies are in %s, which is new.", d.Path)
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

// explainLog adds to what a coordinator can't go on after what a person can do about it, where its log does not say
// that itself.
func (d Directory) explainLog(err error) error {
	switch {
	case errors.Is(err, replication.ErrLocked):
		// It ends with: give this one a directory of its own.
		return fmt.Errorf("%w with %s", err, d.NamedBy())
	case errors.Is(err, replication.ErrDamaged):
		return fmt.Errorf("%w. The system's log may say more of the disk. A backup can be restored into another "+
			"directory: start "+
			"with a new one as --data, then trellis restore FILE. In a cluster, remove this node, and add it again "+
			"with an empty "+
			"directory", err)
	default:
		return err
	}
}

// DirectoryFlags are the flags that say where a coordinator keeps studies.
type DirectoryFlags struct {
	Data     string
	InMemory bool
}

// Path returns the data directory that the flags name, or the default one. It is empty if studies are kept in memory.
func (o *DirectoryFlags) Path(cmd *cobra.Command) (string, error) {
	switch given := cmd.Flags().Changed("data"); {
	case o.InMemory && given:
		return "", exit.Usagef("--data says where studies are kept, and --in-memory that they are not: give one")
	case o.InMemory:
		return "", nil
	case given && o.Data == "":
		return "", exit.Usagef("--data takes a folder; to keep studies in memory only, give --in-memory")
	case given:
		return o.Data, nil
	}
	dir, err := DefaultDirectory()
	if err != nil {
		return "", exit.Usagef("%w: say with --data where studies are kept, or keep them in memory only: --in-memory",
			err)
	}
	return dir, nil
}
