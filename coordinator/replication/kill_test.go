package replication

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// runChild is a node that proposes commands without end and prints which were acknowledged. Files of the log are filled
// and snapshots are taken all the time.
func runChild(dir string) {
	log, err := Open(Config{
		Dir: dir, Address: "127.0.0.1:7070", Bootstrap: true, SnapshotEntries: 150, TrailingEntries: 20,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, &book{})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	for leads := range log.Leadership() {
		if leads {
			break
		}
	}
	fmt.Println("leads")
	var out sync.Mutex
	for worker := range 3 {
		go func() {
			for i := 0; ; i++ {
				command := fmt.Sprintf("%d/%d/%d ", os.Getpid(), worker, i)
				index, _, err := log.Propose(context.Background(), []byte(command+strings.Repeat("x", i%50*i%50*200)))
				out.Lock()
				if err != nil {
					fmt.Println("error:", err)
				} else {
					fmt.Println("acknowledged", index, command)
				}
				out.Unlock()
			}
		}()
	}
	fmt.Println("error:", <-log.Failed())
}

func TestKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	kills := 60
	if testing.Short() {
		kills = 15
	}
	t.Logf("seed %d, %d kills", seed, kills)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir() + "/node"
	acknowledged := map[string]string{}
	slowest := time.Duration(0)
	for i := range kills {
		if i%20 == 19 {
			checkAcknowledged(t, dir, acknowledged)
			// A first boot again.
			dir, acknowledged = fmt.Sprintf("%s/node%d", t.TempDir(), i), map[string]string{}
		}
		life := time.Duration(random.Int64N(int64(250 * time.Millisecond)))
		if i%20 < 8 {
			life /= 10
		}
		if took := killAfter(t, dir, life, acknowledged); took > slowest {
			slowest = took
		}
	}
	checkAcknowledged(t, dir, acknowledged)
	t.Logf("the slowest start took %v", slowest)
}

// killAfter runs a node and kills it. It returns how long the node took to serve, if it got so far.
func killAfter(t *testing.T, dir string, life time.Duration, acknowledged map[string]string) (served time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	var stderr strings.Builder
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(life, func() { child.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "leads":
			served = time.Since(start)
		case "acknowledged":
			index, command, _ := strings.Cut(rest, " ")
			if command != "" && strings.HasSuffix(command, " ") {
				acknowledged[command] = index
			}
		default:
			t.Fatalf("the node said %q\n%s", lines.Text(), stderr.String())
		}
	}
	_ = child.Wait()
	return served
}

// checkAcknowledged checks that the node of a data directory has all that it acknowledged, once, with the same index.
func checkAcknowledged(t *testing.T, dir string, acknowledged map[string]string) {
	t.Helper()
	state := &book{}
	log := open(t, Config{Dir: dir, Bootstrap: true}, state)
	lead(t, log)
	found := map[string]string{}
	for _, entry := range state.entries {
		command := strings.TrimRight(string(entry.Command), "x")
		if found[command] != "" {
			t.Errorf("%s was applied twice", command)
		}
		found[command] = fmt.Sprint(entry.Index)
	}
	for command, index := range acknowledged {
		if found[command] != index {
			t.Errorf("%s was acknowledged at %s and is at %q", command, index, found[command])
		}
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d commands, %d of them acknowledged", len(found), len(acknowledged))
}
