package replication

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// forgedBackup is a backup with the given header, checksum included.
func forgedBackup(header string, chunks ...string) []byte {
	data := binary.LittleEndian.AppendUint32([]byte(backupMagic), backupVersion)
	data = append(binary.LittleEndian.AppendUint32(data, uint32(len(header))), header...)
	for _, chunk := range append(chunks, "") {
		data = append(binary.LittleEndian.AppendUint32(data, uint32(len(chunk))), chunk...)
	}
	return sealed(data)
}

// sealed is a backup with its checksum.
func sealed(data []byte) []byte {
	digest := sha256.Sum256(data)
	return append(bytes.Clone(data), digest[:]...)
}

// FuzzBackup: whatever is restored, it is refused, or its state is what was written. It takes no more memory than
// there is of it. With seal, the input gets the right checksum, so that what is behind the check is reached.
func FuzzBackup(f *testing.F) {
	const header = `{"index":7,"node":"a"}`
	for _, data := range [][]byte{
		forgedBackup(header, "state", strings.Repeat("x", 1000)), forgedBackup(header), forgedBackup(`{"index":"7"}`),
		forgedBackup("{", "state"), forgedBackup(`{"index":18446744073709551615,"node":"a"}`, "state"),
		forgedBackup(`{"index":9007199254740993,"node":"a"}`, "state"), forgedBackup(`{"index":-1}`),
		[]byte("trellis results\n"),
	} {
		f.Add(data, false)
		f.Add(data[:max(0, len(data)-sha256.Size)], true)
	}
	whole := forgedBackup(header, "state")
	f.Add(append(bytes.Clone(whole), 0), false)
	f.Add(whole[:len(whole)-1], false)
	// Lengths that there is nothing of.
	huge := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(huge[len(backupMagic)+4:], math.MaxUint32)
	f.Add(huge, false)
	huge = forgedBackup(header)
	binary.LittleEndian.PutUint32(huge[len(huge)-sha256.Size-4:], math.MaxUint32)
	f.Add(huge, false)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			data = sealed(data)
		}
		var state bytes.Buffer
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		header, size, err := readBackup(context.Background(), bytes.NewReader(data), &state)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20+8*uint64(len(data)) {
			t.Errorf("%d bytes of memory for %d bytes", took, len(data))
		}
		if err != nil {
			if !errors.Is(err, ErrNoBackup) && !errors.Is(err, ErrNewerVersion) && !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
			return
		}
		if size != int64(state.Len()) || size > int64(len(data)) {
			t.Errorf("it has %d bytes, of which it wrote %d", size, state.Len())
		}
		if header.Index > maxIndex-restoreGap {
			t.Errorf("the log would go on at %d", header.Index)
		}
	})
}

// The log goes on behind the index of a backup, and attempts have numbers that come from it: an index that is so large
// that they wrap would let what workers of old send pass for what is asked of them.
func TestBackupOfAnIndexThatNoLogHasIsRefused(t *testing.T) {
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, &book{})
	lead(t, log)
	propose(t, log, "first")
	for _, header := range []string{
		`{"index":18446744073709551615,"node":"a"}`, `{"index":18446744004990074879,"node":"a"}`,
		`{"index":18014398509481984,"node":"a"}`,
	} {
		// Restoring it would never end.
		received, err := log.Receive(t.Context(), bytes.NewReader(forgedBackup(header, "[]")))
		if err == nil {
			received.Discard()
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", header, err)
		}
	}
	if index := propose(t, log, "next"); index > 1000 || log.raft.State() != raft.Leader {
		t.Errorf("the log goes on at %d", index)
	}
}
