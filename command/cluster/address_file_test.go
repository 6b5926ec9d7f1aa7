package cluster

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trellis/command/node"
	"trellis/command/spec"
	"trellis/coordinator"
)

// The file has the address while the coordinator runs. It is removed then, unless another coordinator has written it.
func TestAddressFile(t *testing.T) {
	for left, kept := range map[string]bool{"": false, "elsewhere:7070\n": true} {
		path := filepath.Join(t.TempDir(), "address")
		ctx, stop := context.WithCancel(t.Context())
		c, err := node.Open(ctx, coordinator.Config{Numerics: "test", Models: spec.Models()}, node.Place{
			Listen: "127.0.0.1:0", Data: &node.DataOptions{},
		})
		if err != nil {
			t.Fatal(err)
		}
		served, published := make(chan error, 1), make(chan error, 1)
		go func() { served <- c.Serve(ctx) }()
		go func() { published <- publish(ctx, c, path) }()
		found, err := os.ReadFile(path)
		for ; err != nil; found, err = os.ReadFile(path) {
			time.Sleep(time.Millisecond)
		}
		if string(found) != c.Address+"\n" {
			t.Errorf("the file has %q, want %s", found, c.Address)
		}
		if left != "" {
			if err := os.WriteFile(path, []byte(left), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if err := <-published; err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Logf("the coordinator has ended: %v", err)
		}
		if _, err := os.Stat(path); (err == nil) != kept {
			t.Errorf("after %q, the file is there: %t, want %t", left, err == nil, kept)
		}
	}
}
