package network

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"trellis/trainer/dataset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mnist returns MNIST's training images.
func mnist(t testing.TB) Examples {
	t.Helper()
	data, err := loadMNIST()
	if err != nil {
		t.Fatalf("load MNIST: %v", err)
	}
	return Examples{Pixels: data.Train.Pixels, Labels: data.Train.Labels}
}

var loadMNIST = sync.OnceValues(func() (*dataset.Data, error) {
	set, err := new(dataset.Library).Find(context.Background(), dataset.MNIST)
	if err != nil {
		return nil, err
	}
	return set.Load()
})
