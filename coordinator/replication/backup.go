package replication

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// The layout of a backup. DESIGN.md describes it.
const (
	backupMagic   = "trellis-backup\r\n"
	backupVersion = 1
	// maxBackupHeader is the maximum size of a header, and backupChunk the size of a chunk of the state, in bytes.
	maxBackupHeader = 64 << 10
	backupChunk     = 256 << 10
	// restoreGap is how many indices after the backup's index the log continues after a restore. Grants made after the
	// backup have numbers that come from indices that the backup does not know, and workers may still hold them. Such
	// numbers must not be given again. Even at 20,000 entries/s, a log needs 40 days for so many indices.
	restoreGap = 1 << 36
	// maxBackupIndex is the last index that a backup may have. It leaves room for thousands of restores.
	maxBackupIndex = maxIndex / 2
	// spoolReserve is how much of the disk stays free for the log while a backup is received, in bytes: the log creates
	// files of segmentSize.
	spoolReserve = 2 * segmentSize
	// spoolCheck is how often a backup that is being received makes sure that the reserve is still free.
	spoolCheck = 200 * time.Millisecond
)

// backupHeader says what a backup contains.
type backupHeader struct {
	// Index is the index of the last entry that the state includes.
	Index uint64 `json:"index"`
	// Node is the id of the node that wrote it.
	Node string `json:"node"`
}

// Backup writes the state of this node as of now, which may lag behind the leader's. The node keeps working in the
// meantime.
func (l *Log) Backup(ctx context.Context, w io.Writer) error {
	if err := l.failure.err(); err != nil {
		return err
	}
	snapshot, index, err := l.machine.view()
	if err != nil {
		return fmt.Errorf("snapshot the state: %w", err)
	}
	header, err := json.Marshal(backupHeader{Index: index, Node: l.id})
	if err != nil {
		return fmt.Errorf("encode the header: %w", err)
	}
	digest := sha256.New()
	out := io.MultiWriter(w, digest)
	start := []byte(backupMagic)
	start = binary.LittleEndian.AppendUint32(start, backupVersion)
	start = binary.LittleEndian.AppendUint32(start, uint32(len(header)))
	if _, err := out.Write(append(start, header...)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	chunks := bufio.NewWriterSize(&chunkWriter{ctx: ctx, out: out}, backupChunk)
	if _, err := snapshot.WriteTo(chunks); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := chunks.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := out.Write(make([]byte, 4)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := w.Write(digest.Sum(nil)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// chunkWriter writes each piece of the state, preceded by its length.
type chunkWriter struct {
	ctx context.Context
	out io.Writer
}

func (w *chunkWriter) Write(data []byte) (written int, err error) {
	for len(data) > 0 {
		if err := w.ctx.Err(); err != nil {
			return written, err
		}
		chunk := data[:min(len(data), backupChunk)]
		if _, err := w.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(chunk)))); err != nil {
			return written, err
		}
		if _, err := w.out.Write(chunk); err != nil {
			return written, err
		}
		written += len(chunk)
		data = data[len(chunk):]
	}
	return written, nil
}

// Received is a backup that has been received and verified, and can be restored.
type Received struct {
	log    *Log
	header backupHeader
	size   int64
	state  *spool
}

// Receive reads a whole backup, verifies it, and keeps it in the data directory until it is discarded. It changes
// nothing else. It only works on the leader.
func (l *Log) Receive(ctx context.Context, r io.Reader) (_ *Received, err error) {
	if err := l.failure.err(); err != nil {
		return nil, err
	}
	if l.raft.State() != raft.Leader {
		return nil, ErrNotLeader
	}
	received := &Received{log: l}
	if received.state, err = l.newSpool(); err != nil {
		return nil, notKept(err)
	}
	defer func() {
		if err != nil {
			received.Discard()
		}
	}()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go received.state.watch(watching)
	received.header, received.size, err = readBackup(ctx, bufio.NewReaderSize(r, backupChunk), received.state)
	if err != nil {
		return nil, err
	}
	if checker, ok := l.machine.state.(Checker); ok {
		if _, err := received.state.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if err := checker.Check(bufio.NewReaderSize(received.state, backupChunk)); err != nil {
			return nil, cmp.Or(received.state.gaveUp(), fmt.Errorf("the backup's state can't be restored: %w", err))
		}
	}
	return received, nil
}

// Restore replaces the state of the whole cluster with the backup's. Once it has started, it runs to the end, even if
// ctx is done. Commands that are proposed in the meantime may be lost.
func (b *Received) Restore(ctx context.Context) error {
	if _, err := b.state.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// The snapshot store writes the state once more.
	if err := b.state.room(0); err != nil {
		return err
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: b.header.Index + restoreGap, Size: b.size}
	if err := b.log.ask(context.WithoutCancel(ctx),
		func() error { return b.log.raft.Restore(meta, b.state, 0) }); err != nil {
		return err
	}
	b.log.logger.Info("restored a backup", "from_node", b.header.Node, "index", b.header.Index, "bytes", b.size)
	return nil
}

// Discard removes the backup from the data directory.
func (b *Received) Discard() { b.state.discard() }

// Restore receives a backup and restores it.
func (l *Log) Restore(ctx context.Context, r io.Reader) error {
	received, err := l.Receive(ctx, r)
	if err != nil {
		return err
	}
	defer received.Discard()
	return received.Restore(ctx)
}

// notKept returns the error of a backup that could not be written to the data directory. This harms nothing else.
func notKept(err error) error {
	if errors.Is(err, ErrNoSpace) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w: make room on the disk and retry: nothing has been changed", ErrNoSpace, err)
	}
	return fmt.Errorf("write the backup to the data directory: %w: check the disk and retry: nothing has been changed",
		err)
}

// readBackup verifies a backup and writes the state in it to out.
func readBackup(ctx context.Context, r io.Reader, out io.Writer) (header backupHeader, size int64, err error) {
	in := &digestReader{Reader: r, digest: sha256.New()}
	start := make([]byte, len(backupMagic)+8)
	if err := in.fill(start); err != nil {
		return header, 0, err
	}
	if string(start[:len(backupMagic)]) != backupMagic {
		return header, 0, fmt.Errorf("%w: its first bytes are wrong", ErrNoBackup)
	}
	version := binary.LittleEndian.Uint32(start[len(backupMagic):])
	if version > backupVersion {
		return header, 0, fmt.Errorf("%w: it has format %d, but this version only knows formats up to %d",
			ErrNewerVersion, version,
			backupVersion)
	}
	length := binary.LittleEndian.Uint32(start[len(backupMagic)+4:])
	if version == 0 || length > maxBackupHeader {
		return header, 0, fmt.Errorf("the backup is %w in its header", ErrDamaged)
	}
	encoded := make([]byte, length)
	if err := in.fill(encoded); err != nil {
		return header, 0, err
	}
	chunk := make([]byte, backupChunk)
	for {
		if err := ctx.Err(); err != nil {
			return header, 0, err
		}
		if err := in.fill(chunk[:4]); err != nil {
			return header, 0, err
		}
		length := binary.LittleEndian.Uint32(chunk)
		if length == 0 {
			break
		}
		if length > backupChunk {
			return header, 0, fmt.Errorf("the backup is %w at byte %d", ErrDamaged, in.count)
		}
		if err := in.fill(chunk[:length]); err != nil {
			return header, 0, err
		}
		if _, err := out.Write(chunk[:length]); err != nil {
			return header, 0, notKept(err)
		}
		size += int64(length)
	}
	want := in.digest.Sum(nil)
	got := make([]byte, len(want))
	if err := in.fill(got); err != nil {
		return header, 0, err
	}
	if string(got) != string(want) {
		return header, 0, fmt.Errorf("the backup is %w: its checksum does not match its content", ErrDamaged)
	}
	if n, err := io.ReadFull(r, chunk[:1]); n > 0 || !errors.Is(err, io.EOF) {
		return header, 0, fmt.Errorf("the backup is %w: it continues after its end at byte %d", ErrDamaged, in.count)
	}
	if err := json.Unmarshal(encoded, &header); err != nil {
		return header, 0, fmt.Errorf("the backup is %w in its header: %w", ErrDamaged, err)
	}
	if header.Index > maxBackupIndex {
		return header, 0, fmt.Errorf("the backup is %w in its header: no log has an index of %d", ErrDamaged, header.Index)
	}
	return header, size, nil
}

// digestReader computes the digest of what it reads.
type digestReader struct {
	io.Reader
	digest hash.Hash
	count  int64
}

// fill reads until data is full.
func (r *digestReader) fill(data []byte) error {
	n, err := io.ReadFull(r.Reader, data)
	r.count += int64(n)
	r.digest.Write(data[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the backup is %w: it is cut off at byte %d", ErrDamaged, r.count)
	}
	return err
}
