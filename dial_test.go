package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dialers are the files that make gRPC connections: workers' and commands' in one way, and that of nodes to each other.
// gRPC's default would look for a proxy, which each of them must say that it does not want. The measurements connect to their
// own coordinator, and as thousands of workers from addresses of their own. Calls over HTTP have a connection in memory.
var dialers = []string{
	"command/scale/lab.go", "command/scale/simulated.go", "coordinator/peers.go", "coordinator/web/connection.go",
	"worker/dial/dial.go",
}

// connects finds what makes a connection.
var connects = regexp.MustCompile(`\bgrpc\.(NewClient|Dial|DialContext)\(`)

// There is one way to dial, so that a proxy, or whatever else comes in between, is either meant for all of the product's
// parts or for none.
func TestDialers(t *testing.T) {
	var found []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if connects.Match(content) {
			found = append(found, filepath.ToSlash(path))
			if !bytes.Contains(content, []byte("grpc.WithNoProxy()")) {
				t.Errorf("%s connects through a proxy where there is one", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(found); !slices.Equal(found, dialers) {
		t.Errorf("connections are made in %q, want %q: use worker/dial", found, dialers)
	}
}
