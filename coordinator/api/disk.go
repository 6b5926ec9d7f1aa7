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

// space returns how much of the disk is free, and its size, in bytes: 0 for a log in memory.
func (d disk) space() (free, size uint64, err error) {
	if d.folder == "" {
		return 0, 0, nil
	}
	return diskSpace(d.folder)
}

// reserve is how much must be free for a new study, in bytes.
func (d disk) reserve(size uint64) float64 { return d.minFree * float64(size) }

// low says whether too little is free for a new study.
func (d disk) low(free, size uint64) bool { return float64(free) < d.reserve(size) }

// check refuses a new study, or an extension of one, when little of the disk is free: running studies need the rest. A
// log in memory needs no disk.
func (d disk) check() error {
	free, size, err := d.space()
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if !d.low(free, size) {
		return nil
	}
	return status.Errorf(codes.ResourceExhausted, "only %.1f%% of the disk of %s is free, and new work needs %.0f%%: "+
		"make room there, or delete a study that you no longer need, and retry; studies that are running continue",
		100*float64(free)/float64(size), d.folder, 100*d.minFree)
}

// DiskLow says whether a node with the data directory would refuse new studies, since less than the given share of its disk
// is free.
func DiskLow(folder string, minFree float64) bool {
	d := disk{folder: folder, minFree: minFree}
	free, size, err := d.space()
	return err == nil && d.low(free, size)
}
