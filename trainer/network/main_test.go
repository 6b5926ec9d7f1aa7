package network

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"trellis/trainer/dataset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mnist returns the pixels of MNIST's training images.
func mnist(t testing.TB) []byte {
	t.Helper()
	data, err := loadMNIST()
	if err != nil {
		t.Fatalf("load MNIST: %v", err)
	}
	return data.Train.Pixels
}

var loadMNIST = sync.OnceValues(func() (*dataset.Data, error) {
	set, err := new(dataset.Library).Find(context.Background(), dataset.MNIST)
	if err != nil {
		return nil, err
	}
	return set.Load()
})
