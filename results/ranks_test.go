package results

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/ranking"
	"trellis/results/trajectory"
)

// TestRanking: however answers come in, the ranking has them all in order, in pages that are neither empty nor too
// large, from every key on.
func TestRanking(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for name, objective := range map[string]func(i int) float64{
		"random":     func(int) float64 { return random.Float64() - 0.5 },
		"ascending":  func(i int) float64 { return float64(i) },
		"descending": func(i int) float64 { return float64(-i) },
		"equal":      func(int) float64 { return 1 },
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			var want []*trellisv1.Trial
			study := fmt.Sprintf("s%c", 'a'+random.IntN(3))
			add := func(study string, count int) {
				c := store.begin(1, nil)
				c.studies.add(&trellisv1.Study{Name: study})
				for range count {
					i := len(want)
					trial := &trellisv1.Trial{
						Study: study, Index: uint64(i), Objective: proto.Float64(objective(i)), Parameters: &trellisv1.Parameters{},
					}
					c.answered = append(c.answered, trial)
					if study != "sz" {
						want = append(want, trial)
					}
				}
				ok(t, c.rank())
				c.txn.Commit()
			}
			for len(want) < 3000 {
				add(study, 1+random.IntN(300))
				add("sz", random.IntN(3))
			}
			slices.SortFunc(want, listing.Ranking{}.Compare)
			r := store.Snapshot().reader
			keys, err := r.ranksOf(nil, study)
			ok(t, err)
			pages := slices.Collect(keys.Pages())
			for _, page := range pages {
				if len(page) == 0 || len(page) > ranking.PageSize {
					t.Errorf("a page of %d trials", len(page))
				}
			}
			if len(pages) > 3*len(want)/ranking.PageSize {
				t.Errorf("%d pages for %d trials", len(pages), len(want))
			}
			for range 100 {
				i := random.IntN(len(want) + 1)
				var after listing.Key
				if i > 0 {
					after = listing.Ranking{}.Key(want[i-1])
				}
				ranked, err := r.rankedKeys(nil, study, after)
				ok(t, err)
				got := slices.Collect(ranked)
				if !slices.EqualFunc(got, want[i:], func(k listing.Key, trial *trellisv1.Trial) bool {
					return k == listing.Ranking{}.Key(trial) && k.Index() == trial.Index
				}) {
					t.Fatalf("after %x there are %d trials, want %d", after, len(got), len(want)-i)
				}
			}
		})
	}
}

// TestPageByObjective: pages that are read from the ranking are those that sorting gives, however far the study has
// come.
func TestPageByObjective(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	store := newStore(t)
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for i := range 150 {
		run, its := testRun(fmt.Sprintf("r%d", i), uint32(1+random.IntN(5)), uint64(len(trials)), 2, 4)
		runs, trials = append(runs, run), append(trials, its...)
	}
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, runs, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1000}))
	check := func() {
		t.Helper()
		snapshot := store.Snapshot()
		whole, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", PageSize: 1000})
		ok(t, err)
		for _, size := range []uint32{1 + random.Uint32N(40), 300} {
			checkPages(t, snapshot, &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "objective", PageSize: size},
				whole.Trials)
		}
	}
	check()
	for i, run := range runs {
		index := uint64(10 + 10*i)
		attempt := grant1(t, store, index, "s", run.Id, "w")
		losses := make([]float64, random.IntN(5))
		for j := range losses {
			losses[j] = someLosses[random.IntN(len(someLosses))]
		}
		if len(losses) > 0 {
			record(t, store, index+1, columnEntry("s", run.Id, attempt, 1, losses, losses, nil))
			if random.IntN(3) == 0 {
				record(t, store, index+2, successEntry("s", run.Id, attempt, uint32(len(losses))))
			}
		}
		if i%10 == 9 {
			check()
		}
	}
	if !bytes.Equal(written(t, store), written(t, store)) {
		t.Error("the same state is written in two ways")
	}
}
