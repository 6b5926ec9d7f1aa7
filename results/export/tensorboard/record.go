package tensorboard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	tensorboardv1 "trellis/proto/tensorboard/v1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of a TFRecord: CRC-32C, turned and moved, because a checksum of data that has checksums is
// weak.
func masked(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// writeEvent writes an event as a TFRecord: the length as uint64, its checksum, the data, and its checksum, all
// little-endian.
func writeEvent(out io.Writer, event *tensorboardv1.Event) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(event)
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	record := binary.LittleEndian.AppendUint64(make([]byte, 0, len(data)+16), uint64(len(data)))
	record = binary.LittleEndian.AppendUint32(record, masked(record))
	record = append(record, data...)
	record = binary.LittleEndian.AppendUint32(record, masked(data))
	if _, err := out.Write(record); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}
