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
		return directory, explainDirectory(fmt.Errorf("create the data directory: %w", err))
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
		return "Studies are in memory only: they are lost when this process ends."
	case d.Found:
		return fmt.Sprintf("Studies are in %s (existing).", d.Path)
	default:
		return fmt.Sprintf("Studies are in %s (new).", d.Path)
	}
}

// explainDirectory adds to why a data directory can't be used what a person can do about it.
func explainDirectory(err error) error {
	advice := ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		advice = "free disk space, or choose another folder with --data"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		advice = "this user cannot write there: choose another folder with --data"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST):
		advice = "it is not a folder: choose one with --data"
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
		return fmt.Errorf("%w: check the system's log for disk errors; to recover from a backup, start with a new "+
			"--data folder and run trellis restore FILE; in a cluster, remove this node and add it again with an "+
			"empty folder", err)
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
		return "", exit.Usagef("--data cannot be combined with --in-memory")
	case o.InMemory:
		return "", nil
	case given && o.Data == "":
		return "", exit.Usagef("--data needs a folder; to keep studies in memory only, use --in-memory")
	case given:
		return o.Data, nil
	}
	dir, err := DefaultDirectory()
	if err != nil {
		return "", exit.Usagef("%w: choose a folder with --data, or keep studies in memory only with --in-memory",
			err)
	}
	return dir, nil
}
