package dataset

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a small data set: the content of its four files.
type fixture [4][]byte

// newFixture makes a data set of 12 training and 5 test images of 3 x 4 pixels. Another seed gives other pixels.
func newFixture(seed uint64) fixture {
	return fixture{imagesFile(seed, 12, 3, 4), labelsFile(seed, 12), imagesFile(seed+1, 5, 3, 4), labelsFile(seed+1, 5)}
}

func imagesFile(seed uint64, count, height, width int) []byte {
	return append(words(imagesMagic, count, height, width), noise(seed, count*height*width)...)
}

func labelsFile(seed uint64, count int) []byte {
	return append(words(labelsMagic, count), noise(seed+1000, count)...)
}

func words(values ...int) []byte {
	var b []byte
	for _, value := range values {
		b = binary.BigEndian.AppendUint32(b, uint32(value))
	}
	return b
}

func noise(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// files describes the fixture as a coordinator would.
func (f fixture) files() []File {
	files := namedFiles(FileNames[:]...)
	for i, content := range f {
		files[i].SHA256 = digestOf(content)
		files[i].Size = int64(len(content))
	}
	return files
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// classes is the largest label and one.
func (f fixture) classes() int { return int(max(slices.Max(f[1][8:]), slices.Max(f[3][8:]))) + 1 }

// write puts the fixture's files into a folder, plain.
func (f fixture) write(t testing.TB, folder string) {
	t.Helper()
	for i, content := range f {
		writeFile(t, filepath.Join(folder, FileNames[i]), content)
	}
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// hideGo makes the go command, and with it the module cache, unavailable.
func hideGo(t *testing.T) { t.Setenv("PATH", "") }

// checkData compares what was loaded with the fixture.
func (f fixture) checkData(t *testing.T, d *Data) {
	t.Helper()
	if d.Height != 3 || d.Width != 4 || d.Train.Len() != 12 || d.Test.Len() != 5 {
		t.Errorf("%d x %d pixels, %d and %d images; want 3 x 4, 12 and 5", d.Height, d.Width, d.Train.Len(), d.Test.Len())
	}
	for i, got := range [4][]byte{d.Train.Pixels, d.Train.Labels, d.Test.Pixels, d.Test.Labels} {
		if want := f[i][kind((i+1)%2).size():]; !bytes.Equal(got, want) {
			t.Errorf("%s: the content differs", FileNames[i])
		}
	}
}
