package launch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// farm is a scheduler of which tests say what becomes of jobs.
type farm struct {
	scheduler
	// size is the largest array, room how many jobs there may be in all. 0: any number.
	size, room int
	// became says in which phase a job is once it was submitted.
	became func(id string) phase
	// looked is called before each look.
	looked func()
	// blind shows no jobs.
	blind     bool
	submitted []int
	queue     []job
}

func (f *farm) largest(context.Context) int { return f.size }

var sizeOf = regexp.MustCompile(`--array=1-(\d+)\n`)

func (f *farm) submit(_ context.Context, script string) (string, error) {
	jobs, _ := strconv.Atoi(sizeOf.FindStringSubmatch(script)[1])
	if f.size > 0 && jobs > f.size {
		return "", errors.New("sbatch: error: Batch job submission failed: Invalid job array specification")
	}
	if f.room > 0 && len(f.queue)+jobs > f.room {
		return "", errors.New("sbatch: error: Job violates accounting/QOS policy (job submit limit, user's size and/or " +
			"time limits)")
	}
	f.submitted = append(f.submitted, jobs)
	id := strconv.Itoa(100 + len(f.submitted))
	for i := range jobs {
		its := job{id: fmt.Sprintf("%s_%d", id, i+1)}
		if f.became != nil {
			its.phase = f.became(its.id)
		}
		f.queue = append(f.queue, its)
	}
	return id, nil
}

// demand is what there is to do for so many workers, each of which is connected once it runs.
func (f *farm) demand(workers float64) demand {
	if f.looked != nil {
		f.looked()
	}
	d := demand{waiting: workers, open: true}
	if f.blind {
		return d
	}
	d.jobs = slices.Clone(f.queue)
	for _, job := range f.queue {
		switch job.phase {
		case queued:
			d.queued = append(d.queued, job.id)
		case running:
			d.connected++
			d.waiting = max(0, d.waiting-1)
		}
		if job.phase.live() {
			d.all++
		}
	}
	return d
}

func (f *farm) total() (jobs int) {
	for _, its := range f.submitted {
		jobs += its
	}
	return jobs
}

// keepFor has a fleet keep up to most workers, of which ten have work, for some time.
func keepFor(t *testing.T, f *farm, most int, long time.Duration) (log string, took time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		its := &fleet{
			name: "w", folder: "/out", jobs: f, max: most, every: 15 * time.Second, batch: batch{},
			look: func(context.Context) (demand, error) { return f.demand(10), nil },
		}
		var out strings.Builder
		began := time.Now()
		err = its.keep(ctx, &out)
		log, took = out.String(), time.Since(began)
	})
	return log, took, err
}

// Arrays are no larger than Slurm allows, and where there is only room for some jobs, it gets so many.
func TestSubmitAll(t *testing.T) {
	for _, test := range []struct {
		size, room, jobs int
		want             []int
		err              string
	}{
		{1000, 0, 2500, []int{1000, 1000, 500}, ""},
		{1000, 0, 7, []int{7}, ""},
		{1000, 1300, 2000, []int{1000, 250, 31, 15, 3, 1}, "700 workers not submitted: sbatch: error: Job violates"},
		{1000, 0, 1, []int{1}, ""},
	} {
		f := &farm{size: test.size, room: test.room}
		arrays, err := submitAll(t.Context(), f, test.jobs, batch{}.script)
		if !slices.Equal(f.submitted, test.want) || jobsOf(arrays) != f.total() || (err == nil) != (test.err == "") ||
			err != nil && !strings.HasPrefix(err.Error(), test.err) {
			t.Errorf("%d of %d: %v and %v, want %v and %q", test.jobs, test.size, f.submitted, err, test.want, test.err)
		}
	}
	f := &farm{size: 10, room: 1, queue: make([]job, 1)}
	if arrays, err := submitAll(t.Context(), f, 4, batch{}.script); arrays != nil || err == nil {
		t.Errorf("%v and %v where there is no room", arrays, err)
	}
}

// Jobs that fail at once are followed by one at a time, later and later, and in the end by none.
func TestJobsFail(t *testing.T) {
	f := &farm{size: 1000, became: func(string) phase { return failed }}
	log, took, err := keepFor(t, f, 8, 24*time.Hour)
	if !slices.Equal(f.submitted, []int{8, 1, 1, 1, 1}) || took < 7*time.Minute || took > 10*time.Minute {
		t.Errorf("submitted %v in %s:\n%s", f.submitted, took, log)
	}
	if err == nil || !strings.Contains(err.Error(), "no worker is connected; the last one was job 105_1, see /out/w-105_1.log") {
		t.Error(err)
	}
	if !strings.Contains(log, "Job 101_8 has failed: see /out/w-101_8.log. Submitting one at a time, the next in 30s.") ||
		!strings.Contains(log, "the next in 4m0s.") {
		t.Error(log)
	}
}

// Jobs of one array that fail one after the other don't count each.
func TestJobsFailInTurn(t *testing.T) {
	f := &farm{size: 1000}
	f.looked = func() {
		if next := slices.IndexFunc(f.queue, func(j job) bool { return j.phase == queued }); next >= 0 {
			f.queue[next].phase = failed
		}
	}
	log, took, err := keepFor(t, f, 8, 24*time.Hour)
	if err == nil || took < 5*time.Minute {
		t.Errorf("%v after %s, submitted %v:\n%s", err, took, f.submitted, log)
	}
}

// Where some nodes are well, it goes on, without flooding the others.
func TestSomeJobsFail(t *testing.T) {
	n := 0
	f := &farm{size: 1000, became: func(string) phase {
		if n++; n%3 == 0 {
			return running
		}
		return failed
	}}
	log, _, err := keepFor(t, f, 8, 24*time.Hour)
	running := len(slices.DeleteFunc(slices.Clone(f.queue), func(j job) bool { return j.phase != running }))
	if !errors.Is(err, context.DeadlineExceeded) || running != 8 || f.submitted[1] != 1 || f.total() > 30 {
		t.Errorf("%v, %d run, submitted %v:\n%s", err, running, f.submitted, log)
	}
}

// If Slurm does not show the jobs, no more than --max are submitted.
func TestJobsNotShown(t *testing.T) {
	f := &farm{size: 3, blind: true}
	log, _, err := keepFor(t, f, 8, time.Hour)
	if f.total() != 8 || err == nil || !strings.Contains(err.Error(), "job 101 was submitted, but squeue does not show it") {
		t.Errorf("%v, submitted %v:\n%s", err, f.submitted, log)
	}
}

// While there is no room, it asks now and then, and goes on when there is some.
func TestNoRoom(t *testing.T) {
	f := &farm{size: 1000, room: 5, became: func(string) phase { return running }}
	log, _, err := keepFor(t, f, 8, 10*time.Minute)
	if !errors.Is(err, context.DeadlineExceeded) || f.total() != 5 || strings.Count(log, "not submitted") != 1 {
		t.Errorf("%v, submitted %v:\n%s", err, f.submitted, log)
	}
}

// The workers' token is renewed as long as it goes on.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		renewed := 0
		its := &fleet{
			every: time.Minute, look: func(context.Context) (demand, error) { return demand{}, nil },
			renew: func(context.Context) error { renewed++; return nil },
		}
		if err := its.keep(ctx, t.Output()); !errors.Is(err, context.DeadlineExceeded) || renewed != 4 {
			t.Errorf("%v, renewed %d times in 100 hours", err, renewed)
		}
	})
}
