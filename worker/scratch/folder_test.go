//go:build linux || darwin || freebsd

package scratch

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// makerVariable makes this binary a process that makes a folder and waits to be killed.
const makerVariable = "SCRATCH_TEST_PARENT"

func TestMain(m *testing.M) {
	if parent := os.Getenv(makerVariable); parent != "" {
		folder, err := Make(parent, "x-")
		if err != nil {
			panic(err)
		}
		fmt.Println(folder.Path())
		for {
			time.Sleep(time.Hour)
			runtime.KeepAlive(folder) // Once it is garbage, its lock is released.
		}
	}
	os.Exit(m.Run())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A folder stays for as long as its process lives, and is removed by the next one after that.
func TestFoldersOfKilledProcesses(t *testing.T) {
	parent := t.TempDir()
	for _, other := range []string{"y-1", "x.2"} {
		if err := os.Mkdir(filepath.Join(parent, other), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(parent, "x-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(parent, "x-link")); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	maker := exec.Command(executable)
	maker.Env = append(os.Environ(), makerVariable+"="+parent)
	output, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = maker.Process.Kill() }()
	lines := bufio.NewScanner(output)
	if !lines.Scan() {
		t.Fatal("it made no folder")
	}
	its := lines.Text()
	if err := os.MkdirAll(filepath.Join(its, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(its, "a"), 0o500); err != nil {
		t.Fatal(err)
	}
	first, err := Make(parent, "x-")
	if err != nil {
		t.Fatal(err)
	}
	if !exists(its) {
		t.Error("the folder of a process that lives was removed")
	}
	_ = maker.Process.Kill()
	_ = maker.Wait()
	second, err := Make(parent, "x-")
	if err != nil {
		t.Fatal(err)
	}
	if exists(its) || !exists(first.Path()) {
		t.Error("not only the folder of the process that was killed was removed")
	}
	for _, folder := range []*Folder{first, second, nil} {
		if err := folder.Remove(); err != nil {
			t.Error(err)
		}
	}
	for _, other := range []string{"y-1", "x.2", "x-file", "x-link"} {
		if !exists(filepath.Join(parent, other)) {
			t.Errorf("%s was removed", other)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 4 {
		t.Errorf("left: %v", left)
	}
}

// Those who make folders at the same time don't remove each other's.
func TestMakingAtTheSameTime(t *testing.T) {
	parent := t.TempDir()
	var makers sync.WaitGroup
	for range 8 {
		makers.Go(func() {
			for range 20 {
				folder, err := Make(parent, "x-")
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(folder.Path(), "file"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := folder.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
}
