package replication

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// The names in a data directory. DESIGN.md describes their formats.
const (
	lockName        = "lock"
	nodeName        = "node.json"
	logName         = "log"
	snapshotsName   = "snapshots"
	temporarySuffix = ".tmp"
	formatVersion   = 2
)

// identity is the content of the file node.json.
type identity struct {
	// Format is the version of the data directory's layout and of all formats in it.
	Format int `json:"format"`
	// ID is random. It is created with the directory.
	ID string `json:"id"`
	// Used says that the directory has had a log with entries: one without is then damaged, and not new. Nodes of version
	// 0.1.0 have not written it.
	Used bool `json:"used,omitempty"`
}

// directory is a data directory that this process has locked.
type directory struct {
	path string
	lock *flock.Flock
	identity
}

// openDirectory locks the data directory and reads the node's identity. It creates both if they don't exist.
func openDirectory(path string) (_ *directory, err error) {
	if err := makeFolder(path); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	d := &directory{path: path, lock: flock.New(filepath.Join(path, lockName), flock.SetPermissions(0o600))}
	defer func() {
		if err != nil {
			d.lock.Close()
		}
	}()
	locked, err := d.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data directory %s: %w", path, err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: another coordinator uses %s: stop it, or give this one a directory of its own",
			ErrLocked, path)
	}
	if err := d.identify(); err != nil {
		return nil, err
	}
	return d, d.tidy()
}

// identify reads the file node.json, or writes it into a new directory.
func (d *directory) identify() error {
	path := filepath.Join(d.path, nodeName)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{logName, snapshotsName} {
			if _, err := os.Stat(filepath.Join(d.path, name)); err == nil {
				return fmt.Errorf("the data directory %s is %w: it has %s but no %s: put the file back, or restore a "+
					"backup into an empty directory", d.path, ErrDamaged, name, nodeName)
			}
		}
		if err := d.write(identity{Format: formatVersion, ID: strings.ToLower(rand.Text())}); err != nil {
			return err
		}
		// A kill may have come right after the directory was made.
		if err := syncFolder(filepath.Dir(filepath.Clean(d.path))); err != nil {
			return fmt.Errorf("sync the folder of the data directory: %w: %s", err, remedy(err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the node's identity: %w", err)
	}
	if len(content) == 0 {
		return fmt.Errorf("%s is %w: it is empty", path, ErrDamaged)
	}
	if err := json.Unmarshal(content, &d.identity); err != nil {
		return fmt.Errorf("%s is %w: it does not have the format and id that Trellis wrote", path, ErrDamaged)
	}
	switch {
	case d.Format > formatVersion:
		return fmt.Errorf("the data directory %s was %w: it has format %d, but this version only knows formats up to "+
			"%d: start the newer version", d.path, ErrNewerVersion, d.Format, formatVersion)
	case d.Format < 1 || d.ID == "":
		return fmt.Errorf("%s is %w: it has no format or no id", path, ErrDamaged)
	}
	return nil
}

// write writes the file node.json.
func (d *directory) write(changed identity) error {
	content, err := json.Marshal(changed)
	if err != nil {
		return fmt.Errorf("encode %s: %w", nodeName, err)
	}
	path := filepath.Join(d.path, nodeName)
	if err := writeFile(path, append(content, '\n')); err != nil {
		return fmt.Errorf("write %s: %w: %s", path, err, remedy(err))
	}
	d.identity = changed
	return nil
}

// upgrade notes that what is written from now on has the format of this version. It comes after everything has been read, so
// that what this version can't open can still be opened by the older one, and before the first snapshot.
func (d *directory) upgrade() error {
	if d.Format == formatVersion {
		return nil
	}
	changed := d.identity
	changed.Format = formatVersion
	return d.write(changed)
}

// noteUse notes that the directory's log has entries.
func (d *directory) noteUse() error {
	if d.Used {
		return nil
	}
	changed := d.identity
	changed.Used = true
	return d.write(changed)
}

// tidy removes unfinished work that a kill left behind.
func (d *directory) tidy() error {
	for _, folder := range []string{d.path, filepath.Join(d.path, snapshotsName)} {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for leftovers of a crash: %w", err)
		}
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), temporarySuffix) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
				return fmt.Errorf("remove leftovers of a crash: %w", err)
			}
		}
	}
	return nil
}

// folder creates a log in a temporary folder, and moves it into place when all of it is on the disk. After a kill there
// is either no log or a complete one.
func (d *directory) folder(fill func(path string) error) error {
	path, temporary := filepath.Join(d.path, logName), filepath.Join(d.path, logName+temporarySuffix)
	err := func() error {
		if err := os.RemoveAll(temporary); err != nil {
			return err
		}
		if err := os.Mkdir(temporary, 0o700); err != nil {
			return err
		}
		if err := fill(temporary); err != nil {
			return err
		}
		if err := syncFolder(temporary); err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.Rename(temporary, path); err != nil {
			return err
		}
		return syncFolder(d.path)
	}()
	if err != nil {
		return fmt.Errorf("create the log in %s: %w: %s", d.path, err, remedy(err))
	}
	return nil
}

// hasLog says whether the directory has a log.
func (d *directory) hasLog() bool {
	_, err := os.Stat(filepath.Join(d.path, logName))
	return err == nil
}

// makeSnapshots makes the folder of the snapshots, for this user alone. Raft would let everybody read it.
func (d *directory) makeSnapshots() error {
	path := filepath.Join(d.path, snapshotsName)
	if err := makeFolder(path); err != nil {
		return fmt.Errorf("create the folder of the snapshots: %w: %s", err, remedy(err))
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("keep others from reading the snapshots: %w: %s", err, remedy(err))
	}
	return nil
}

// space returns the free bytes and the size of the directory's file system.
func (d *directory) space() (free, size uint64, err error) { return folderSpace(d.path) }

// folderSpace returns how many bytes of a folder's file system are free for this process, and how many would be if nothing
// were stored.
func folderSpace(path string) (free, size uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return 0, 0, fmt.Errorf("find the free space in %s: %w", path, err)
	}
	return stat.Bavail * uint64(stat.Bsize), (stat.Blocks - stat.Bfree + stat.Bavail) * uint64(stat.Bsize), nil
}

// close unlocks the directory.
func (d *directory) close() error { return d.lock.Close() }

// makeFolder creates a folder and its parents durably.
func makeFolder(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// only returns the configuration of a cluster of one node.
func only(id, address string) raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(address),
	}}}
}
