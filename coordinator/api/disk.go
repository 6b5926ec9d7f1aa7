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
	// minFree is how many bytes must be free for a new study. 0: a tenth of the file system, at most maxReserve.
	minFree uint64
}

// maxReserve is the most that must be free for a new study by default, in bytes: a tenth of a large disk is room for
// hundreds of large studies.
const maxReserve = 16 << 30

// diskSpace returns how many bytes of a folder's file system are free for this process, and how many would be if nothing
// were stored: the size less what the system keeps for itself or for others.
func diskSpace(folder string) (free, size uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return 0, 0, fmt.Errorf("find the free disk space of %s: %w", folder, err)
	}
	block := uint64(stat.Bsize)
	return stat.Bavail * block, (stat.Blocks - stat.Bfree + stat.Bavail) * block, nil
}

// space returns how much of the disk is free, and its size, in bytes: 0 for a log in memory.
func (d disk) space() (free, size uint64, err error) {
	if d.folder == "" {
		return 0, 0, nil
	}
	return diskSpace(d.folder)
}

// reserve is how much must be free for a new study, in bytes.
func (d disk) reserve(size uint64) uint64 {
	if d.minFree > 0 {
		return d.minFree
	}
	return min(size/10, maxReserve)
}

// low says whether too little is free for a new study. A log in memory needs nothing.
func (d disk) low(free, size uint64) bool { return d.folder != "" && free < d.reserve(size) }

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
	return status.Errorf(codes.ResourceExhausted, "only %.3g GB are free on the disk of %s, and new work needs "+
		"%.3g GB: make room there, or delete a study that you no longer need, and retry; studies that are running continue",
		float64(free)/1e9, d.folder, float64(d.reserve(size))/1e9)
}

// DiskSpace returns how many bytes of the disk of a data directory are free, and with how few a node refuses new studies.
func DiskSpace(folder string, minFree uint64) (free, reserve uint64, err error) {
	d := disk{folder: folder, minFree: minFree}
	free, size, err := d.space()
	return free, d.reserve(size), err
}

// DiskLow says whether a node with the data directory would refuse new studies, since fewer than minFree bytes of its disk
// are free. 0: as many as by default.
func DiskLow(folder string, minFree uint64) bool {
	d := disk{folder: folder, minFree: minFree}
	free, size, err := d.space()
	return err == nil && d.low(free, size)
}
