package program

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// An output gives what a reader would see of a slice that has everything, but for what was left out.
func TestOutputIsHeadAndTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		folder, err := os.MkdirTemp("", "output")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(folder)
		each := rapid.IntRange(1, 20).Draw(t, "each")
		output, err := CreateOutput(filepath.Join(folder, "output"), int64(each))
		if err != nil {
			t.Fatal(err)
		}
		defer output.Close()
		var all []byte
		for range rapid.IntRange(0, 10).Draw(t, "writes") {
			piece := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "piece")
			if n, err := output.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
			all = append(all, piece...)
		}
		kept := output.Kept()
		head, tail := all[:min(each, len(all))], all[max(min(each, len(all)), len(all)-each):]
		if kept != (Kept{Head: int64(len(head)), Tail: int64(len(tail)), Total: int64(len(all))}) {
			t.Fatalf("kept %+v of %d", kept, len(all))
		}
		if kept.Omitted() != int64(len(all)-len(head)-len(tail)) {
			t.Fatalf("omitted %d", kept.Omitted())
		}
		limit := rapid.IntRange(1, 60).Draw(t, "limit")
		var got []byte
		for offset := int64(0); ; {
			chunk, err := output.Read(offset, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(chunk.Data) == 0 {
				break
			}
			if !bytes.Equal(chunk.Data, all[chunk.Offset:chunk.Offset+int64(len(chunk.Data))]) {
				t.Fatalf("at %d: got %q", chunk.Offset, chunk.Data)
			}
			if chunk.Offset != offset && (chunk.Offset != int64(len(all)-len(tail)) || offset > chunk.Offset) {
				t.Fatalf("skipped from %d to %d", offset, chunk.Offset)
			}
			got = append(got, chunk.Data...)
			offset = chunk.Offset + int64(len(chunk.Data))
		}
		if want := append(bytes.Clone(head), tail...); !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		var compressed bytes.Buffer
		if again, err := output.Compress(&compressed); again != kept || err != nil {
			t.Fatal(again, err)
		}
		reader, err := zstd.NewReader(&compressed)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		if content, err := io.ReadAll(reader); err != nil || !bytes.Equal(content, got) {
			t.Fatalf("compressed %q (%v), want %q", content, err, got)
		}
	})
}
