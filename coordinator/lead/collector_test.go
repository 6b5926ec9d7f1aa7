package lead

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
)

// testArtifacts is a node's artifacts in a store.
func testArtifacts(store artifact.Backing) *artifact.Keeper {
	keeper := artifact.NewKeeper(slog.New(slog.DiscardHandler))
	keeper.Use(store, nil)
	return keeper
}

// references is what runs refer to, in a test.
type references struct {
	mu      sync.Mutex
	digests map[string]bool
}

func (r *references) set(digest string, referred bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if referred {
		r.digests[digest] = true
	} else {
		delete(r.digests, digest)
	}
}

func (r *references) get() (map[string]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.digests), nil
}

// collectorTest is a collector that runs under a fake clock.
type collectorTest struct {
	*testing.T
	*collector
	store      *artifacttest.Store
	references *references
	// verifying is called when leadership is verified.
	verifying func() error
	start     func()
}

func testCollector(t *testing.T, test func(*collectorTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &collectorTest{
			T: t, store: artifacttest.New(), references: &references{digests: map[string]bool{}},
			verifying: func() error { return nil },
		}
		c.collector = &collector{
			artifacts: testArtifacts(c.store), metrics: newArtifactMetrics(nil), logger: slog.New(slog.DiscardHandler),
			references: c.references.get, idle: map[string]time.Time{},
			verify: func(context.Context) error { return c.verifying() },
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		c.start = func() { running.Go(func() { c.run(ctx) }) }
		test(c)
	})
}

// upload puts an artifact and returns its digest.
func (c *collectorTest) upload(content string) string {
	c.Helper()
	digest, _, err := c.artifacts.Put(context.Background(), strings.NewReader(content))
	if err != nil {
		c.Fatal(err)
	}
	return digest
}

// want fails the test if the artifact is not there, or is.
func (c *collectorTest) want(digest string, there bool) {
	c.Helper()
	synctest.Wait()
	if found := c.store.Has(digest); found != there {
		c.Errorf("artifact %.6s is there: %v, want %v", digest, found, there)
	}
}

const collectInterval = artifact.Grace / collectionsPerGrace

// A collector deletes what nothing has referred to for the grace period, by its own observation, and keeps everything
// else.
func TestCollectsWhatNothingRefersTo(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		unreferred, referred, dropped := c.upload("a"), c.upload("b"), c.upload("c")
		c.references.set(referred, true)
		c.references.set(dropped, true)
		// That it is old is no reason: this collector has not seen since when nothing refers to it.
		time.Sleep(10 * time.Hour)
		c.start()
		time.Sleep(artifact.Grace - time.Second)
		c.want(unreferred, true)
		time.Sleep(2 * time.Second)
		c.want(unreferred, false)
		c.references.set(dropped, false)
		time.Sleep(artifact.Grace - time.Second)
		c.want(dropped, true)
		time.Sleep(collectInterval + time.Second)
		c.want(dropped, false)
		late := c.upload("d")
		time.Sleep(artifact.Grace - time.Second)
		c.want(late, true)
		time.Sleep(100 * time.Hour)
		c.want(late, false)
		c.want(referred, true)
		if n := c.artifacts.Taken(); n > 0 {
			t.Errorf("%d uploads are remembered forever", n)
		}
	})
}

// What is referred to for a moment has a whole grace period again.
func TestReferenceStartsTheGraceAfresh(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		digest := c.upload("a")
		c.start()
		time.Sleep(artifact.Grace - collectInterval - time.Minute)
		c.references.set(digest, true)
		time.Sleep(collectInterval)
		c.references.set(digest, false)
		time.Sleep(artifact.Grace - time.Minute)
		c.want(digest, true)
		time.Sleep(collectInterval + time.Minute)
		c.want(digest, false)
	})
}

// What is applied by the time that leadership is verified counts.
func TestReferencesAreReadAgainBeforeDeleting(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		late, other := c.upload("a"), c.upload("b")
		c.verifying = func() error {
			c.references.set(late, true)
			return nil
		}
		c.start()
		time.Sleep(10 * artifact.Grace)
		c.want(late, true)
		c.want(other, false)
	})
}

func TestDeletesNothingWithoutVerifiedLeadership(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		digest := c.upload("a")
		var leads atomic.Bool
		c.verifying = func() error {
			if leads.Load() {
				return nil
			}
			return replication.ErrNotLeader
		}
		c.start()
		time.Sleep(10*artifact.Grace + time.Minute)
		c.want(digest, true)
		leads.Store(true)
		time.Sleep(collectInterval)
		c.want(digest, false)
	})
}

// Of an artifact that is referred to the youngest copy stays.
func TestCollectsOlderCopies(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		c.start()
		var digest string
		for range 3 {
			digest = c.upload("a")
			time.Sleep(time.Minute)
		}
		c.references.set(digest, true)
		time.Sleep(2 * artifact.Grace)
		c.want(digest, true)
		if n := len(c.store.Names()); n != 1 {
			t.Fatalf("%d copies, want 1", n)
		}
		if only := c.store.Names()[0]; !strings.HasSuffix(only, "3") {
			t.Errorf("%s is left, want the third", only)
		}
	})
}

// The same content comes again, and is referred to, at the very moment at which the collector deletes it.
func TestUploadWhileItIsDeleted(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		digest := c.upload("a")
		again := false
		c.store.Deleting = func(artifact.Artifact) {
			if again {
				return
			}
			again = true
			c.upload("a")
			if err := c.artifacts.Admit(context.Background(),
				&trellisv1.Checkpoint{Sha256: digest, Size: 1}); err != nil {
				t.Error(err)
			}
			c.references.set(digest, true)
		}
		c.start()
		time.Sleep(10 * artifact.Grace)
		c.want(digest, true)
		if !again {
			t.Error("nothing was deleted")
		}
	})
}

// Errors of the store are tried again, and keep nothing else from being deleted.
func TestCollectorSurvivesErrors(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		stuck, other := c.upload("a"), c.upload("b")
		broken := errors.New("broken")
		c.store.Fail("list", broken)
		c.store.Fail("delete "+stuck, broken)
		c.start()
		time.Sleep(10*artifact.Grace + time.Minute)
		c.want(stuck, true)
		c.want(other, true)
		c.store.Fail("list", nil)
		time.Sleep(artifact.Grace + collectInterval)
		c.want(stuck, true)
		c.want(other, false)
		c.store.Fail("delete "+stuck, nil)
		time.Sleep(collectInterval)
		c.want(stuck, false)
	})
}

// A store that lacks what runs refer to, since it is another one than before, is warned of once.
func TestMissingArtifactsAreSaid(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		var said bytes.Buffer
		c.logger = slog.New(slog.NewTextHandler(&said, nil))
		c.references.set(c.upload("there"), true)
		c.references.set(strings.Repeat("b", 64), true)
		c.references.set(strings.Repeat("a", 64), true)
		c.upload("nobody's")
		c.start()
		time.Sleep(artifact.Grace)
		synctest.Wait()
		if want := "missing=2 referred=3 example=" + strings.Repeat("a", 64); strings.Count(said.String(), want) != 1 {
			t.Errorf("said %q, want %q once", said.String(), want)
		}
	})
	testCollector(t, func(c *collectorTest) {
		var said bytes.Buffer
		c.logger = slog.New(slog.NewTextHandler(&said, nil))
		c.references.set(c.upload("there"), true)
		c.start()
		time.Sleep(artifact.Grace)
		// What is gone later is not what was never copied.
		c.references.set(strings.Repeat("a", 64), true)
		time.Sleep(artifact.Grace)
		synctest.Wait()
		if said.Len() > 0 {
			t.Errorf("said %q of a store that has everything", said.String())
		}
	})
}

func TestArtifactMetrics(t *testing.T) {
	testCollector(t, func(c *collectorTest) {
		registry := prometheus.NewRegistry()
		c.metrics = newArtifactMetrics(registry)
		c.references.set(c.upload("kept"), true)
		c.upload("collected")
		c.start()
		time.Sleep(2 * artifact.Grace)
		synctest.Wait()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]float64{}
		for _, family := range families {
			metric := family.GetMetric()[0]
			found[family.GetName()] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
		want := map[string]float64{
			"trellis_artifacts": 1, "trellis_artifacts_bytes": 4,
			"trellis_artifacts_collected_total": 1, "trellis_artifacts_collected_bytes_total": 9,
		}
		if !maps.Equal(found, want) {
			t.Errorf("metrics %v, want %v", found, want)
		}
	})
}

// Nodes that share a store lead in turn, studies come and go, the same few contents are uploaded again and again, and
// deletes take effect hours late: what is referred to is there at every moment.
func TestNothingReferredToIsEverDeleted(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 4
	}
	first := uint64(time.Now().UnixNano())
	deleted := 0
	for i := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) { deleted += hurryAndDelay(t, first+i) })
		if t.Failed() {
			t.Fatalf("seed %d", first+i)
		}
	}
	t.Logf("seeds %d to %d: %d copies deleted", first, first+uint64(seeds)-1, deleted)
	if deleted < 10*seeds {
		t.Error("too little was deleted to prove anything")
	}
}

func hurryAndDelay(t *testing.T, seed uint64) (deleted int) {
	random := rand.New(rand.NewPCG(seed, 0))
	upTo := func(limit time.Duration) time.Duration { return time.Duration(random.Int64N(int64(limit))) }
	store := artifacttest.New()
	// The collectors delete in goroutines of their own.
	var drawing sync.Mutex
	delays := rand.New(rand.NewPCG(seed, 1))
	store.Deleting = func(artifact.Artifact) {
		drawing.Lock()
		delay := time.Duration(delays.Int64N(int64(10*time.Hour))) - 5*time.Hour
		drawing.Unlock()
		time.Sleep(delay)
	}
	referred := &references{digests: map[string]bool{}}
	var mu sync.Mutex
	leader := 0
	leads := func(node int) bool { mu.Lock(); defer mu.Unlock(); return leader == node }

	var nodes [2]*artifact.Keeper
	var running sync.WaitGroup
	var cancels [2]context.CancelFunc
	for node := range nodes {
		nodes[node] = testArtifacts(store)
	}
	begin := func(node int) {
		ctx, cancel := context.WithCancel(context.Background())
		cancels[node] = cancel
		collector := &collector{
			artifacts: nodes[node], metrics: newArtifactMetrics(nil), logger: slog.New(slog.DiscardHandler),
			references: referred.get, idle: map[string]time.Time{},
			verify: func(context.Context) error {
				if !leads(node) {
					return replication.ErrNotLeader
				}
				return nil
			},
		}
		running.Go(func() { collector.run(ctx) })
	}
	begin(0)
	for range 300 {
		content := fmt.Sprint("content ", random.IntN(8))
		digest := artifacttest.DigestOf([]byte(content))
		mu.Lock()
		node := leader
		mu.Unlock()
		switch random.IntN(6) {
		case 0: // An upload.
			if _, _, err := nodes[node].Put(context.Background(), strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		case 1, 2: // A report of an upload that may have been long ago.
			if nodes[node].Admit(context.Background(),
				&trellisv1.Checkpoint{Sha256: digest, Size: uint64(len(content))}) != nil {
				break
			}
			time.Sleep(upTo(artifact.Grace / 3)) // The log is slow.
			referred.set(digest, true)
		case 3, 4:
			referred.set(digest, false)
		case 5:
			if random.IntN(4) > 0 {
				break
			}
			// The old leader may not know for a while that it is none any more.
			mu.Lock()
			leader = 1 - leader
			mu.Unlock()
			stop := cancels[node]
			time.AfterFunc(upTo(time.Hour), stop)
			begin(1 - node)
		}
		time.Sleep(upTo(time.Hour))
		digests, _ := referred.get()
		for digest := range digests {
			if !store.Has(digest) {
				t.Errorf("artifact %.6s is referred to and not there", digest)
			}
		}
	}
	time.Sleep(2 * time.Hour)
	for _, cancel := range cancels {
		if cancel != nil {
			cancel()
		}
	}
	running.Wait()
	return store.Puts() - len(store.Names())
}
