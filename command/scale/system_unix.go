//go:build unix

package main

import (
	"io/fs"
	"syscall"
)

// allocated is how many bytes of the disk a file takes: the log's segments are larger than what is written in them.
func allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(stat.Blocks) * 512
	}
	return info.Size()
}

// descriptors is how many files and connections a process may have open. Go's runtime has raised the limit as far as it
// could.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1 << 20
	}
	return int(min(limit.Max, 1<<20))
}
