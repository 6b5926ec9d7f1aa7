package api

import (
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// disk is the file system that the log is on.
type disk struct {
	// folder is the data directory. Empty: the log is in memory.
	folder string
	// minFree is the share that must be free for a new study.
	minFree float64
}

// diskSpace returns how much of a folder's file system is free for this process, and its size, in bytes.
func diskSpace(folder string) (free, size uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return 0, 0, fmt.Errorf("find the free disk space of %s: %w", folder, err)
	}
	block := uint64(stat.Bsize)
	return uint64(stat.Bavail) * block, stat.Blocks * block, nil
}

// check refuses a new study, or an extension of one, when little of the disk is free: running studies need the rest. A
// log in memory needs no disk.
func (d disk) check() error {
	if d.folder == "" {
		return nil
	}
	free, size, err := diskSpace(d.folder)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if size == 0 || float64(free) >= d.minFree*float64(size) {
		return nil
	}
	return status.Errorf(codes.ResourceExhausted, "only %.1f%% of the disk of %s is free, and new work needs %.0f%%: "+
		"make room there, or delete a study that you no longer need, and retry; studies that are running continue",
		100*float64(free)/float64(size), d.folder, 100*d.minFree)
}
