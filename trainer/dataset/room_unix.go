//go:build linux || darwin

package dataset

import "golang.org/x/sys/unix"

// freeBytes is how much room there is on a folder's disk for who is not the superuser.
var freeBytes = func(folder string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}
