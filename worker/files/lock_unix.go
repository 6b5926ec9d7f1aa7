//go:build linux || darwin || freebsd

package files

import (
	"os"
	"syscall"
)

// lock locks a file until it is closed: for its user, beside others, or alone. It returns false if another's lock is in the
// way. Where the file system has no locks, nobody is granted a file alone: nothing is removed.
func lock(file *os.File, alone bool) bool {
	if alone {
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	}
	return syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != syscall.EWOULDBLOCK
}
