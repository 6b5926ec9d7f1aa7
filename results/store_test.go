package results

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// TestModel gives the same random commands to two stores and to the model, and compares all that can be read after
// each. One of the stores is written and restored now and then. With the build tag soak, there are a million commands.
func TestModel(t *testing.T) {
	drawFew(t)
	commands := modelCommands
	if testing.Short() {
		commands = min(commands, 500)
	}
	done := 0
	for round := 0; done < commands && !t.Failed(); round++ {
		t.Run(fmt.Sprint(round), func(t *testing.T) { testModel(t, &done) })
	}
	t.Logf("%d commands", done)
}

func testModel(t *testing.T, done *int) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newStoreMachine(t)
		m.faulty = rapid.IntRange(0, 3).Draw(rt, "faulty") == 0
		m.create(rt)
		m.apply(rt, &trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 3})
		m.grant(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"create":  m.create,
			"study":   m.setStudy,
			"delete":  m.deleteStudy,
			"worker":  m.setWorker,
			"grant":   m.grant,
			"grant 2": m.grant,
			"record":  m.record,
			"batch":   m.record,
			"more":    m.record,
			"report":  m.reportNext,
			"next":    m.reportNext,
			"success": m.succeedNext,
			"stage":   m.endStageNext,
			"stage 2": m.endStageNext,
			"save":    m.checkpointNext,
			"save 2":  m.checkpointNext,
			"lose":    m.loseHolder,
			"restore": m.restore,
			"extend":  m.extend,
			"retry":   m.retry,
			"fail":    m.failNext,
			"refill":  m.recordAndGrant,
		})
		*done += int(m.index - firstIndex)
		for i, snapshot := range m.snapshots {
			if mustHash(t, snapshot) != m.hashes[i] {
				rt.Fatalf("a later write has changed snapshot %d", i)
			}
		}
	})
}

// TestHash: every row counts, and nothing else does.
func TestHash(t *testing.T) {
	store, other := newFullStore(t), newFullStore(t)
	hash := mustHash(t, store.Snapshot())
	if again := mustHash(t, other.Snapshot()); again != hash {
		t.Errorf("the same writes to another store hash to %x, not %x", again, hash)
	}
	seen := map[[sha256.Size]byte]string{hash: "all"}
	for _, without := range contents {
		shorter := slices.Clone(contents)
		for i := range shorter {
			if shorter[i].name != without.name {
				continue
			}
			shorter[i].rows = func(r reader) (iter.Seq2[proto.Message, error], error) {
				rows, err := without.rows(r)
				return func(yield func(proto.Message, error) bool) {
					number := 0
					for row, err := range rows {
						if number++; number > 1 && !yield(row, err) {
							return
						}
					}
				}, err
			}
		}
		got, err := hashOf(store.Snapshot().reader, shorter)
		ok(t, err)
		if seen[got] != "" {
			t.Errorf("without a row of %s the hash is that of %s", without.name, seen[got])
		}
		seen[got] = without.name
	}
	txn := store.tables.Load().db.Txn(true)
	_, err := txn.DeleteAll(tableSections, indexID+"_prefix", key(nil))
	ok(t, err)
	txn.Abort()
	if mustHash(t, store.Snapshot()) != hash {
		t.Error("what was not committed has changed the hash")
	}
}

// TestReadersMeanwhile is for the race detector: readers of whatever age, while the log goes on.
func TestReadersMeanwhile(t *testing.T) {
	store := newListStore(t)
	var readers sync.WaitGroup
	for range 4 {
		snapshot := store.Snapshot()
		readers.Go(func() {
			for range 20 {
				if _, err := snapshot.Hash(); err != nil {
					t.Error(err)
				}
				list, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
					Study: "s", OrderBy: "-objective", Filter: "index < 7", Losses: true,
				})
				if err != nil {
					t.Error(err)
				}
				proto.CloneOf(list)
			}
		})
	}
	for index := uint64(20); index < 220; index += 2 {
		attempt := grant1(t, store, index, "s", "pending", "w")
		record(t, store, index+1, reportEntry("s", "pending", attempt, 1, 1, 1, nil),
			returnEntry("s", "pending", attempt))
	}
	running := AttemptNumber(6, 0)
	record(t, store, 300, columnEntry("s", "running", running, 2, []float64{1, 1}, []float64{1, 1}, nil))
	readers.Wait()
}
