//go:build linux || darwin || freebsd

package artifact

import (
	"os"
	"syscall"
)

// lock takes the file for this process until the file is closed, by whatever means. It says false if another has it,
// and true where the file system has no locks: folders there must not be shared between nodes.
func lock(file *os.File) bool {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return err != syscall.EWOULDBLOCK
}

// space returns how much of the folder's file system is free for this process, and its size, in bytes.
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
	return uint64(stat.Bavail) * block, uint64(stat.Blocks) * block, nil
}
