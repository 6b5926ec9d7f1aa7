package trainer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"trellis/trainer/model"
)

// Checkpoint is a run's position. Together with its Config, it is enough to resume the run bit for bit.
//
// The checkpoint that Train passes to Config.Checkpoint costs nothing to make, because it aliases the run's own memory.
// It is valid until the callback returns. To keep it, encode it or clone it before that.
type Checkpoint struct {
	identity [sha256.Size]byte
	progress progress
	state    model.State
}

// Epoch is the last epoch that the checkpoint includes.
func (c *Checkpoint) Epoch() int { return c.progress.epoch }

// Summary describes a checkpoint.
type Summary struct {
	// Epoch is the last one that the checkpoint includes.
	Epoch int
	// BestEpoch is the best epoch by Config.Objective, and BestValue the value of its metric there: the lowest
	// validation loss by default. If no value was finite, BestEpoch is 0 and BestValue is NaN.
	BestEpoch int
	BestValue float64
	// Stopped says that the losses have ended the run: no epoch follows, no matter how many are allowed.
	Stopped bool
	// Weights is how many weights the model has; 0 for the synthetic one.
	Weights int
}

// Summary returns a description of the checkpoint, without its weights.
func (c *Checkpoint) Summary() Summary {
	return Summary{
		Epoch:     c.progress.epoch,
		BestEpoch: c.progress.bestEpoch,
		BestValue: c.progress.best,
		Stopped:   c.progress.stopped != 0,
		Weights:   len(c.state.Weights),
	}
}

// Clone returns a copy that shares no memory with the run.
func (c *Checkpoint) Clone() *Checkpoint {
	clone := new(Checkpoint)
	c.CopyTo(clone)
	return clone
}

// CopyTo makes dst, an earlier Clone or a new Checkpoint, a copy that shares no memory with the run. It allocates only
// what does not fit into the memory that dst has.
func (c *Checkpoint) CopyTo(dst *Checkpoint) {
	state := dst.state
	*dst = *c
	for i, values := range dst.state.All() {
		*values = append((*state.All()[i])[:0], *values...)
	}
}

// DESIGN.md describes the format.
const (
	checkpointMagic   = "trelliCP"
	checkpointVersion = 1
	checkpointHeader  = 8 + 4 + sha256.Size + 4 + 4 + 8 + 8 + 4 + 4 + 8 + 4
	checkpointTrailer = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodedSize is the number of bytes that AppendBinary appends.
func (c *Checkpoint) EncodedSize() int {
	return checkpointHeader + 4*4*len(c.state.Weights) + checkpointTrailer
}

// AppendBinary appends the encoded checkpoint. It does not allocate if b has room for EncodedSize bytes more.
func (c *Checkpoint) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	b = slices.Grow(b, c.EncodedSize())
	le := binary.LittleEndian
	b = append(b, checkpointMagic...)
	b = le.AppendUint32(b, checkpointVersion)
	b = append(b, c.identity[:]...)
	b = le.AppendUint32(b, uint32(c.progress.epoch))
	b = le.AppendUint32(b, uint32(c.progress.bestEpoch))
	b = le.AppendUint64(b, math.Float64bits(c.progress.best))
	b = le.AppendUint64(b, math.Float64bits(c.progress.patience.Reference))
	b = le.AppendUint32(b, uint32(c.progress.patience.Waited))
	b = le.AppendUint32(b, uint32(c.progress.stopped))
	b = le.AppendUint64(b, c.state.Steps)
	b = le.AppendUint32(b, uint32(len(c.state.Weights)))
	for _, values := range c.state.All() {
		for _, value := range *values {
			b = le.AppendUint32(b, math.Float32bits(value))
		}
	}
	return le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli)), nil
}

// MarshalBinary returns the encoded checkpoint.
func (c *Checkpoint) MarshalBinary() ([]byte, error) { return c.AppendBinary(nil) }

// UnmarshalBinary decodes a checkpoint into memory of its own. It returns ErrCheckpointCorrupt if the checkpoint is not
// complete and unaltered, and ErrCheckpointVersion if it has another version of the format. Train checks whether it
// belongs to a run.
func (c *Checkpoint) UnmarshalBinary(data []byte) error {
	if len(data) < len(checkpointMagic)+4 || string(data[:len(checkpointMagic)]) != checkpointMagic {
		return fmt.Errorf("decode %d bytes: %w: it does not begin as one", len(data), ErrCheckpointCorrupt)
	}
	if version := binary.LittleEndian.Uint32(data[len(checkpointMagic):]); version != checkpointVersion {
		return fmt.Errorf("decode version %d, know version %d: %w", version, checkpointVersion, ErrCheckpointVersion)
	}
	if len(data) < checkpointHeader+checkpointTrailer {
		return fmt.Errorf("decode %d bytes: %w: too short", len(data), ErrCheckpointCorrupt)
	}
	body, trailer := data[:len(data)-checkpointTrailer], data[len(data)-checkpointTrailer:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(trailer) {
		return fmt.Errorf("decode %d bytes: %w: the checksum does not match", len(data), ErrCheckpointCorrupt)
	}
	r := fieldReader{bytes.NewBuffer(body[len(checkpointMagic)+4:])}
	var d Checkpoint
	copy(d.identity[:], r.Next(sha256.Size))
	d.progress.epoch = int(r.uint32())
	d.progress.bestEpoch = int(r.uint32())
	d.progress.best = math.Float64frombits(r.uint64())
	d.progress.patience.Reference = math.Float64frombits(r.uint64())
	d.progress.patience.Waited = int(r.uint32())
	d.progress.stopped = StopReason(r.uint32())
	d.state.Steps = r.uint64()
	count := r.uint32()
	// The length of what is left bounds what is allocated.
	if uint64(r.Len()) != 4*4*uint64(count) {
		return fmt.Errorf("decode %d bytes: %w: %d weights do not fit", len(data), ErrCheckpointCorrupt, count)
	}
	for _, values := range d.state.All() {
		*values = make([]float32, count)
		for i := range *values {
			(*values)[i] = math.Float32frombits(r.uint32())
		}
	}
	if err := d.progress.check(); err != nil {
		return fmt.Errorf("decode %d bytes: %w: %w", len(data), ErrCheckpointCorrupt, err)
	}
	*c = d
	return nil
}

// fieldReader reads fields of a length that has been checked.
type fieldReader struct{ *bytes.Buffer }

func (r fieldReader) uint32() uint32 { return binary.LittleEndian.Uint32(r.Next(4)) }
func (r fieldReader) uint64() uint64 { return binary.LittleEndian.Uint64(r.Next(8)) }
