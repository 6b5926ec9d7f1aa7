//go:build linux || darwin || freebsd

package artifact

import (
	"os"
	"syscall"
)

// lock locks the file for this process until the file is closed, in whatever way. It returns false if another process
// has the lock. It returns true if the file system has no locks: nodes must not share folders there.
func lock(file *os.File) bool {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return err != syscall.EWOULDBLOCK
}

// space returns how many bytes of the folder's file system are free for this process, and how many would be if nothing were
// stored.
func space(root *os.Root) (free, size uint64, err error) {
	folder, err := root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer folder.Close()
	var stat syscall.Statfs_t
	if err := syscall.Fstatfs(int(folder.Fd()), &stat); err != nil {
		return 0, 0, err
	}
	block := uint64(stat.Bsize)
	return uint64(stat.Bavail) * block, uint64(stat.Blocks-stat.Bfree+uint64(stat.Bavail)) * block, nil
}
