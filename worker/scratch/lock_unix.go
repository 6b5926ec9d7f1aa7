//go:build linux || darwin || freebsd

package scratch

import (
	"os"
	"syscall"
)

// lock locks a folder for this process.
func lock(held *os.File) outcome {
	switch err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return locked
	case syscall.EWOULDBLOCK:
		return taken
	default:
		return unknown
	}
}

// own says whether a folder is this user's.
func own(held *os.File) bool {
	info, err := held.Stat()
	if err != nil {
		return false
	}
	stat, known := info.Sys().(*syscall.Stat_t)
	return known && int(stat.Uid) == os.Geteuid()
}
