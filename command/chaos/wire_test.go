package chaos

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire is a proxy between workers and a coordinator that delays what it passes on, cuts connections, and falls silent
// without cutting them. It sees TLS alone.
type wire struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	random *rand.Rand
	// cuts and silences count what has been done.
	cuts, silences atomic.Int64
	all            sync.WaitGroup
}

func newWire(t *testing.T, random *rand.Rand, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, target: target, random: rand.New(rand.NewPCG(random.Uint64(), 0))}
	ctx, stop := context.WithCancel(context.Background())
	w.all.Go(func() { w.serve(ctx) })
	t.Cleanup(func() {
		stop()
		listener.Close()
		w.all.Wait()
	})
	return w
}

func (w *wire) between(least, most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return between(w.random, least, most)
}

func (w *wire) serve(ctx context.Context) {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.all.Go(func() {
			defer near.Close()
			far, err := net.Dial("tcp", w.target)
			if err != nil {
				return
			}
			defer far.Close()
			w.pass(ctx, near, far)
		})
	}
}

// pass passes on what comes from both ends for a while, then maybe nothing for up to a lease and a third, and cuts both.
func (w *wire) pass(ctx context.Context, near, far net.Conn) {
	var silent atomic.Bool
	var copies sync.WaitGroup
	ended := make(chan struct{}, 2)
	relay := func(to, from net.Conn) {
		defer func() { ended <- struct{}{} }()
		for buffer := make([]byte, 4<<10); ; {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			pause(ctx, w.between(0, 20*time.Millisecond))
			for silent.Load() && ctx.Err() == nil {
				pause(ctx, 10*time.Millisecond)
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	copies.Go(func() { relay(far, near) })
	copies.Go(func() { relay(near, far) })
	life := time.NewTimer(w.between(300*time.Millisecond, 2*time.Second))
	defer life.Stop()
	select {
	case <-ended:
	case <-ctx.Done():
	case <-life.C:
		if w.between(0, 3) == 0 {
			w.silences.Add(1)
			silent.Store(true)
			pause(ctx, w.between(lease()/3, lease()*4/3))
			silent.Store(false)
		}
		w.cuts.Add(1)
	}
	silent.Store(false)
	near.Close()
	far.Close()
	copies.Wait()
}

// A proxy between workers and their coordinator delays, cuts and falls silent, over TLS: the study ends as if it had not, and
// nothing is recorded twice.
func TestUnreliableWire(t *testing.T) {
	parallel(t)
	random := newRandom(t)
	f := newFleet(t)
	f.secure()
	coordinator := f.newCoordinator("coordinator", "--lease", lease().String())
	c := f.newClient(coordinator.address)
	coordinator.startServing(c)
	w := newWire(t, random, coordinator.address)
	r := newRecord(synthetic("wire", 5*time.Millisecond, gridOf(100, 40)), true)
	if acknowledged, err := r.change(t.Context(), c, running); !acknowledged {
		t.Fatal(err)
	}
	for _, name := range []string{"worker-1", "worker-2"} {
		f.newWorker(name, w.listener.Addr().String(), "--slots", "2").start()
	}
	if err := r.follow(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := r.check(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := r.checkCompleted(t.Context(), c); err != nil {
		t.Error(err)
	}
	t.Logf("%d cuts, %d of them after silence", w.cuts.Load(), w.silences.Load())
	if w.cuts.Load() < 3 {
		t.Error("hardly a connection was cut")
	}
}
