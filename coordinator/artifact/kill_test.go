//go:build linux || darwin || freebsd

package artifact

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary puts artifacts into this folder until it is killed, if it is set; from this seed on; and it kills
// itself before this step, counted over all, if it is not 0.
const (
	childFolder = "ARTIFACT_TEST_FOLDER"
	childSeed   = "ARTIFACT_TEST_SEED"
	childStep   = "ARTIFACT_TEST_STEP"
)

func init() {
	if folder := os.Getenv(childFolder); folder != "" {
		putForEver(folder)
	}
}

// contentOf is what the child puts for a seed. Every third is the same as one before.
func contentOf(seed uint64) []byte {
	seed -= seed % 3 / 2
	return noise(seed, int(seed*7919%300_000))
}

// putForEver is the child process: it puts from two goroutines, and prints the seed of everything that was
// acknowledged.
func putForEver(path string) {
	seed, _ := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	kill, _ := strconv.Atoi(os.Getenv(childStep))
	folder, err := openFolder(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var mu sync.Mutex
	steps := 0
	folder.step = func(_ string, do func() error) error {
		mu.Lock()
		if steps++; steps == kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		mu.Unlock()
		return do()
	}
	store := &Store{folder}
	for worker := range uint64(2) {
		go func() {
			for next := seed + worker; ; next += 2 {
				if _, _, err := store.Put(context.Background(), bytes.NewReader(contentOf(next)), 1<<20); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(next)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// putAndKill runs the child until it is killed, before the given step or else when enough were acknowledged and some
// time has passed. It returns the seeds that were acknowledged.
func putAndKill(t *testing.T, folder string, seed uint64, step, enough int, more time.Duration) []uint64 {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+folder, childSeed+"="+strconv.FormatUint(seed, 10),
		childStep+"="+strconv.Itoa(step))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		put, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatalf("the child says %q", line)
		}
		if seeds = append(seeds, put); len(seeds) == enough {
			time.AfterFunc(more, func() { _ = child.Process.Kill() })
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child was to be killed: %v", err)
	}
	return seeds
}

// wantWhole fails the test if something that was acknowledged is not there, or something that is there is not whole, or
// something was left behind.
func wantWhole(t *testing.T, folder string, seeds []uint64) {
	t.Helper()
	store, err := Open(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, seed := range seeds {
		wantContent(t, store, contentOf(seed))
	}
	for _, artifact := range list(t, store) {
		if _, err := read(t, store, artifact.SHA256); err != nil {
			t.Errorf("listed, but %v", err)
		}
	}
	left, err := os.ReadDir(filepath.Join(folder, incomingFolder))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %d files, %v", len(left), err)
	}
}

// A process that is killed at any instant loses nothing that it has acknowledged.
func TestKilledAtRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	folder := t.TempDir()
	kills := 30
	if testing.Short() {
		kills = 5
	}
	var seeds []uint64
	for range kills {
		// Seeds are small, and each child's are its own.
		from := uint64(random.IntN(1 << 24))
		more := time.Duration(random.IntN(3000)) * time.Microsecond
		seeds = append(seeds, putAndKill(t, folder, from, 0, 1+random.IntN(20), more)...)
		if !t.Failed() && len(seeds)%7 == 0 {
			wantWhole(t, folder, seeds)
		}
	}
	wantWhole(t, folder, seeds)
	t.Logf("%d kills, %d artifacts acknowledged", kills, len(seeds))
}

// The same for a kill before each of the first steps, each in a folder of its own.
func TestKilledAtEachStep(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 7
	}
	acknowledged := 0
	for step := 1; step <= 50; step += stride {
		folder := filepath.Join(t.TempDir(), "new", "folder")
		seeds := putAndKill(t, folder, 0, step, 0, 0)
		wantWhole(t, folder, seeds)
		acknowledged += len(seeds)
	}
	if acknowledged == 0 {
		t.Error("no child was killed after it had put something: the steps are too few")
	}
}
