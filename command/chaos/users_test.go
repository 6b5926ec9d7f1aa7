package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// users submit studies, change their minds about them and look at them, and keep a record of each.
type users struct {
	fleet *fleet
	// clients are those of the coordinators; each call goes to the next of them.
	clients []*client
	next    atomic.Uint64
	// fresh: see record.
	fresh bool
	// calm: see record.
	calm bool
	// meddle says that they pause, cancel and delete studies too.
	meddle bool

	// ctx ends all that they do, winding that they submit more.
	ctx     context.Context
	cancel  context.CancelFunc
	winding chan struct{}
	all     sync.WaitGroup

	mu      sync.Mutex
	records map[string]*record
	// changes and reads were answered.
	changes, reads atomic.Uint64
}

// newUsers returns users who reach the coordinators through these clients.
func newUsers(f *fleet, clients ...*client) *users {
	u := &users{
		fleet: f, clients: clients, fresh: len(clients) == 1, winding: make(chan struct{}),
		records: map[string]*record{},
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	f.Cleanup(func() {
		u.cancel()
		u.all.Wait()
	})
	return u
}

// start sets a number of users to work.
func (u *users) start(random *rand.Rand, count int) {
	for n := range count {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(n)))
		u.all.Go(func() { u.work(n, own) })
	}
}

// client returns that of the next coordinator.
func (u *users) client() *client { return u.clients[u.next.Add(1)%uint64(len(u.clients))] }

// finish lets the users finish the studies that they have submitted, and waits for them.
func (u *users) finish() {
	close(u.winding)
	done := make(chan struct{})
	go func() { u.all.Wait(); close(done) }()
	timer := time.NewTimer(3 * patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		u.fleet.Errorf("the last studies have not ended within %v", 3*patience)
		u.cancel()
		<-done
	}
}

// work submits one study after the other and sees each to its end.
func (u *users) work(user int, random *rand.Rand) {
	for n := 0; u.ctx.Err() == nil && !u.fleet.Failed(); n++ {
		select {
		case <-u.winding:
			return
		default:
		}
		r := newRecord(randomSpec(random, fmt.Sprintf("study-%d-%d", user, n)), u.fresh)
		r.calm = u.calm
		u.mu.Lock()
		u.records[r.spec.GetName()] = r
		u.mu.Unlock()
		u.see(r, random)
	}
}

// see submits a study and sees it to its end.
func (u *users) see(r *record, random *rand.Rand) {
	if err := u.accompany(r, random); err != nil {
		u.fleet.Error(err)
	}
}

func (u *users) accompany(r *record, random *rand.Rand) (err error) {
	for r.mayBe(absent) && u.ctx.Err() == nil {
		if err := u.change(r, running); err != nil {
			return err
		}
	}
	watched := make(chan error, 1)
	ctx, cancel := context.WithCancel(u.ctx)
	go func() { watched <- r.follow(ctx, u.client()) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-watched)
	}()
	for u.ctx.Err() == nil && !u.fleet.Failed() {
		select {
		case err := <-watched:
			watched <- nil
			if err != nil || r.isGone() {
				return err
			}
			return u.end(r, random)
		case <-time.After(between(random, 50*time.Millisecond, 400*time.Millisecond)):
		}
		if err := u.act(r, random); err != nil {
			return err
		}
	}
	return nil
}

// isGone says whether the study can be nothing but deleted.
func (r *record) isGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.may == one(absent)
}

// act does what comes to a user's mind.
func (u *users) act(r *record, random *rand.Rand) error {
	select {
	case <-u.winding:
		return u.change(r, running)
	default:
	}
	choice := random.IntN(100)
	switch {
	case r.mayBe(paused) && choice < 60:
		return u.change(r, running)
	case u.meddle && choice < 20:
		return u.change(r, paused)
	case u.meddle && choice < 23:
		return u.change(r, canceled)
	case u.meddle && choice < 25:
		return u.change(r, absent)
	default:
		return u.check(r)
	}
}

func (u *users) change(r *record, to trellisv1.StudyState) error {
	acknowledged, err := r.change(u.ctx, u.client(), to)
	if acknowledged {
		u.changes.Add(1)
	} else if err == nil {
		pause(u.ctx, 20*time.Millisecond)
	}
	return err
}

// lag is how long a follower may take to apply what was acknowledged.
const lag = 10 * time.Second

// check reads a study. A coordinator that can't be reached is no error, and a follower may need a moment.
func (u *users) check(r *record) error {
	for deadline := time.Now().Add(lag); ; pause(u.ctx, 50*time.Millisecond) {
		err := r.check(u.ctx, u.client())
		switch {
		case err == nil:
			u.reads.Add(1)
			return nil
		case !errors.Is(err, errLost):
			return nil
		case u.fresh || time.Now().After(deadline) || u.ctx.Err() != nil:
			return err
		}
	}
}

// keptStudies is how many studies the users keep in a long test. A coordinator has room for a thousand.
const keptStudies = 400

// end looks at a study that has ended, and deletes some; all of them when there are many.
func (u *users) end(r *record, random *rand.Rand) error {
	u.mu.Lock()
	submitted := len(u.records)
	u.mu.Unlock()
	if u.meddle && (random.IntN(5) == 0 || submitted > keptStudies) {
		return u.change(r, absent)
	}
	return u.check(r)
}

// checkAll reads every study from a coordinator that has started again.
func (u *users) checkAll(c *client) {
	u.fleet.Helper()
	u.mu.Lock()
	names := sorted(u.records)
	u.mu.Unlock()
	for _, name := range names {
		u.mu.Lock()
		r := u.records[name]
		u.mu.Unlock()
		if err := r.checkRestarted(u.ctx, c); err != nil && u.ctx.Err() == nil {
			u.fleet.Error(err)
		}
	}
}

// checkSoon checks that a node that may lag has, before long, all that was acknowledged.
func (u *users) checkSoon(clients []*client) {
	u.fleet.Helper()
	u.mu.Lock()
	names := sorted(u.records)
	u.mu.Unlock()
	for _, name := range names {
		u.mu.Lock()
		r := u.records[name]
		u.mu.Unlock()
		for _, c := range clients {
			deadline := time.Now().Add(lag)
			err := r.check(u.ctx, c)
			for err != nil && time.Now().Before(deadline) && u.ctx.Err() == nil {
				pause(u.ctx, 50*time.Millisecond)
				err = r.check(u.ctx, c)
			}
			if err != nil && u.ctx.Err() == nil {
				u.fleet.Error(err)
			}
		}
	}
}

// checkEnd checks all studies after the last fault, when everything has ended, and returns those that have completed.
func (u *users) checkEnd(c *client) (specs []*trellisv1.StudySpec) {
	u.fleet.Helper()
	counts := map[string]int{}
	for _, name := range sorted(u.records) {
		r := u.records[name]
		if err := r.checkRestarted(u.fleet.Context(), c); err != nil {
			u.fleet.Error(err)
			continue
		}
		study, err := c.getStudy(u.fleet.Context(), name)
		counts[one(study.GetState()).String()]++
		switch study.GetState() {
		case completed:
			if err = r.checkCompleted(u.fleet.Context(), c); err == nil {
				specs = append(specs, r.spec)
			}
		case absent:
			err = nil
		case canceled:
		default:
			err = r.lost("it has not ended: %v", study)
		}
		if err != nil {
			u.fleet.Error(err)
		}
	}
	u.fleet.Logf("%d studies in the end: %v; %d changes were acknowledged, %d reads answered", len(u.records), counts,
		u.changes.Load(), u.reads.Load())
	return specs
}

// randomSpec is a small study: 2 to 16 runs of at most 40 epochs, which take 1 to 8 ms.
func randomSpec(random *rand.Rand, name string) *trellisv1.StudySpec {
	grid := &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    integers([]uint32{4, 8, 16, 32}[:1+random.IntN(4)]...),
		"learning_rate": values([]float64{1e-3, 3e-4, 0.2}[:1+random.IntN(3)]...),
		"max_epochs":    integers([]uint32{3, 20, 40}[random.IntN(3):]...),
	}}
	if random.IntN(2) == 0 {
		grid.Axes["weight_decay"] = values(0, 1e-5)
	}
	spec := synthetic(name, between(random, time.Millisecond, 8*time.Millisecond), grid)
	spec.Seeds = integers(random.Uint32())
	if random.IntN(2) == 0 {
		spec.EarlyStopping = &trellisv1.EarlyStopping{Patience: 1 + random.Uint32N(5), MinDelta: 1e-4}
	}
	return spec
}
