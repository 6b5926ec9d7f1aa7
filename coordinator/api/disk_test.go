package api

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A tenth of the disk stays free for studies that run, and no more of a large one than they could need.
func TestReserve(t *testing.T) {
	const gigabyte = 1 << 30
	for _, test := range []struct{ minFree, size, want uint64 }{
		{size: 50 * gigabyte, want: 5 * gigabyte},
		{size: 1000 * gigabyte, want: 16 * gigabyte},
		{minFree: 7, size: 1000 * gigabyte, want: 7},
	} {
		d := disk{folder: "data", minFree: test.minFree}
		if got := d.reserve(test.size); got != test.want {
			t.Errorf("a disk of %d bytes: %d must be free, want %d", test.size, got, test.want)
		}
		if d.low(test.want, test.size) || !d.low(test.want-1, test.size) {
			t.Errorf("a disk of %d bytes is low at another number than %d", test.size, test.want)
		}
	}
	if err := (disk{minFree: 1}).check(); err != nil {
		t.Errorf("a log in memory: %v", err)
	}
}

// What the system keeps for itself, or gives to others, does not count as used: else a quota would refuse studies for good.
func TestSpaceLeavesOutWhatNobodyCanUse(t *testing.T) {
	folder := t.TempDir()
	free, size, err := diskSpace(folder)
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		t.Fatal(err)
	}
	block := uint64(stat.Bsize)
	const slack = 1 << 28 // Others write meanwhile.
	used := (stat.Blocks - stat.Bfree) * block
	if sum := free + used; sum > size+slack || size > sum+slack {
		t.Errorf("%d bytes free and %d used of %d", free, used, size)
	}
}
