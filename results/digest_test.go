package results

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// digestOfListed is a study's digest, written by DESIGN.md and with what is listed of the study alone.
func digestOfListed(t *rapid.T, snapshot *Snapshot, runs []*listedRun) string {
	data := []byte("trellis digest 1\n")
	number := func(n int) { data = binary.BigEndian.AppendUint32(data, uint32(n)) }
	for _, run := range runs {
		number(len(run.Id))
		data = append(data, run.Id...)
		number(len(run.trials))
		var longest *trellisv1.Trial
		for _, trial := range run.trials {
			number(int(trial.Parameters.MaxEpochs))
			data = append(data, map[trellisv1.TrialState]byte{
				lifecycle.TrialSucceeded: 'a', lifecycle.TrialDiverged: 'a', lifecycle.TrialPending: 'o', lifecycle.TrialRunning: 'o', lifecycle.TrialPruned: 'p', lifecycle.TrialFailed: 'f', lifecycle.TrialCanceled: 'c',
			}[trial.State])
			if trial.State == lifecycle.TrialSucceeded || trial.State == lifecycle.TrialDiverged {
				longest = trial
			}
		}
		number(int(longest.GetEpochs()))
		if longest == nil {
			continue
		}
		trial, err := snapshot.WithLosses(longest)
		if err != nil {
			t.Fatal(err)
		}
		column := func(values []float64) {
			for _, value := range values {
				bits := math.Float64bits(value)
				if value != value {
					bits = 0x7ff8000000000000
				}
				data = binary.BigEndian.AppendUint64(data, bits)
			}
		}
		column(slices.Concat(trial.TrainLoss, trial.ValidationLoss))
		losses, err := snapshot.Losses(nil, trial.Study, trial.Run)
		if err != nil {
			t.Fatal(err)
		}
		if names := slices.Sorted(maps.Keys(losses.Metrics)); len(names) > 0 {
			number(0xffffffff)
			number(len(names))
			for _, name := range names {
				number(len(name))
				data = append(data, name...)
				column(losses.Metrics[name].Values[:trial.Epochs])
			}
		}
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// checkDigest compares a study's digest with that which is made of what is listed of it.
func checkDigest(t *rapid.T, snapshot *Snapshot, study string) {
	got, err := snapshot.Digest(study)
	if want := digestOfListed(t, snapshot, listedRuns(t, snapshot, study)); err != nil || got != want {
		t.Fatalf("digest %s and error %v, want %s", got, err, want)
	}
}

// listedRun is a run with its trials as they are listed, those with the fewest epochs first.
type listedRun struct {
	*trellisv1.Run
	trials []*trellisv1.Trial
}

// listedRuns are those of a study, by id.
func listedRuns(t *rapid.T, snapshot *Snapshot, study string) (runs []*listedRun) {
	list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{
		Study: study, PageSize: listing.MaxPageSize,
		OrderBy: "max_epochs",
	})
	if err != nil || list.NextPageToken != "" {
		t.Fatalf("more trials than on one page, or the error %v", err)
	}
	byID := map[string]*listedRun{}
	for _, trial := range list.Trials {
		if byID[trial.Run] == nil {
			run, err := snapshot.Run(nil, study, trial.Run)
			if err != nil {
				t.Fatal(err)
			}
			byID[trial.Run] = &listedRun{Run: run}
			runs = append(runs, byID[trial.Run])
		}
		byID[trial.Run].trials = append(byID[trial.Run].trials, trial)
	}
	slices.SortFunc(runs, func(a, b *listedRun) int { return strings.Compare(a.Id, b.Id) })
	return runs
}

// digested is a study to take the digest of: two runs, trained until they end.
type digested struct {
	name       string
	ids        []string
	milestones [][]uint32
	// validation losses by run; training losses are twice these.
	losses [][]float64
	test   float64
	// metric, if it has a name, has a value of each epoch of the first run, and of the test images at its end.
	metric       string
	values       []float64
	testAccuracy float64
	// first is the index of the first trial.
	first uint64
}

func newDigested() digested {
	return digested{
		name: "s", ids: []string{"a1", "b2"}, milestones: [][]uint32{{2, 3}, {3}}, losses: [][]float64{
			{3, 2, 1},
			{5, math.NaN(), 0},
		},
		test: 1,
	}
}

func (d digested) digest(t *testing.T) string {
	t.Helper()
	store := newStore(t)
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	first := d.first
	for i, id := range d.ids {
		run, its := testRun(id, 16, first, d.milestones[i]...)
		runs, trials, first = append(runs, run), append(trials, its...), first+10
	}
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: d.name}, runs, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 9}))
	for i, id := range d.ids {
		attempt := grant1(t, store, uint64(2*i+3), d.name, id, "w")
		var train []float64
		for _, loss := range d.losses[i] {
			train = append(train, 2*loss)
		}
		epochs := uint32(len(train))
		reports := columnEntry(d.name, id, attempt, 1, train, d.losses[i], map[uint32]float64{epochs: d.test})
		if d.metric != "" && id == "a1" {
			reports.GetReports().Metrics = map[string]*trellisv1.Series{d.metric: {Values: d.values}}
			reports.GetReports().TestMetrics = map[uint32]*trellisv1.Metrics{epochs: {Values: map[string]float64{"x": d.testAccuracy}}}
		}
		record(t, store, uint64(2*i+4), reports, successEntry(d.name, id, attempt, epochs))
	}
	digest, err := store.Snapshot().Digest(d.name)
	ok(t, err)
	return digest
}

// TestDigest: it depends on the points and their answers, and on nothing else.
func TestDigest(t *testing.T) {
	const quietNaN, otherNaN = 0x7ff8000000000000, 0xfff8000000000123
	base := newDigested().digest(t)
	for _, test := range []struct {
		name   string
		change func(*digested)
		same   bool
	}{
		{"nothing", func(*digested) {}, true},
		{"its name", func(d *digested) { d.name = "t" }, true},
		{"the order of its runs", func(d *digested) {
			slices.Reverse(d.ids)
			slices.Reverse(d.milestones)
			slices.Reverse(d.losses)
		}, true},
		{"the indices of its trials", func(d *digested) { d.first = 7 }, true},
		{"test losses", func(d *digested) { d.test = 4 }, true},
		{"another NaN", func(d *digested) { d.losses[1][1] = math.Float64frombits(otherNaN) }, true},
		{"a usual NaN", func(d *digested) { d.losses[1][1] = math.Float64frombits(quietNaN) }, true},
		{"a run's identity", func(d *digested) { d.ids[1] = "b3" }, false},
		{"a bit of a loss", func(d *digested) { d.losses[0][1] = math.Nextafter(2, 3) }, false},
		{"the sign of zero", func(d *digested) { d.losses[1][2] = math.Copysign(0, -1) }, false},
		{"a number for NaN", func(d *digested) { d.losses[1][1] = 1 }, false},
		{"one more point", func(d *digested) { d.milestones[1] = []uint32{1, 3} }, false},
		{"one point fewer", func(d *digested) { d.milestones[0] = []uint32{3} }, false},
		{"another point", func(d *digested) { d.milestones[0] = []uint32{1, 3} }, false},
		{"an earlier end", func(d *digested) { d.losses[0] = d.losses[0][:2] }, false},
		{"one more run", func(d *digested) {
			d.ids, d.milestones, d.losses = append(d.ids, "c"), append(d.milestones, []uint32{1}), append(d.losses,
				[]float64{1})
		}, false},
		{"one run fewer", func(d *digested) { d.ids = d.ids[:1] }, false},
		{"losses exchanged", func(d *digested) { slices.Reverse(d.losses) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDigested()
			test.change(&d)
			if got := d.digest(t); (got == base) != test.same {
				t.Errorf("the digest is %s, and was %s before; want the same: %v", got, base, test.same)
			}
		})
	}
}

// TestDigestOfMetrics: those of epochs count as losses do, and those of the test images no more than test losses.
func TestDigestOfMetrics(t *testing.T) {
	with := func(change func(*digested)) string {
		d := newDigested()
		d.metric, d.values, d.testAccuracy = "validation_accuracy", []float64{0.5, math.NaN(), 0}, 0.75
		change(&d)
		return d.digest(t)
	}
	base := with(func(*digested) {})
	for _, test := range []struct {
		name   string
		change func(*digested)
		same   bool
	}{
		{"nothing", func(*digested) {}, true},
		{"no metric", func(d *digested) { d.metric = "" }, false},
		{"another metric", func(d *digested) { d.metric = "train_accuracy" }, false},
		{"a bit of a value", func(d *digested) { d.values[0] = math.Nextafter(0.5, 1) }, false},
		{"a number for NaN", func(d *digested) { d.values[1] = 0.5 }, false},
		{"another NaN", func(d *digested) { d.values[1] = math.Float64frombits(0xfff8000000000123) }, true},
		{"test metrics", func(d *digested) { d.testAccuracy = 0.25 }, true},
	} {
		if got := with(test.change); (got == base) != test.same {
			t.Errorf("%s: the digest is %s, and was %s before; want the same: %v", test.name, got, base, test.same)
		}
	}
}

// TestDigestIsFixed: what was published once must stay comparable. A change here needs another digestHeader.
func TestDigestIsFixed(t *testing.T) {
	const want = "72670450806b7eba76cf025ea57cb2b266d92927f0ddcb64a9ece2eb714e43ee"
	if got := newDigested().digest(t); got != want {
		t.Errorf("the digest is %s, want %s", got, want)
	}
}

// TestDigestOfUnanswered: what has no answer counts by why it has none, and not by how far its run has come.
func TestDigestOfUnanswered(t *testing.T) {
	store := newStore(t)
	digest := func() string {
		digest, err := store.Snapshot().Digest("s")
		ok(t, err)
		return digest
	}
	run, trials := testRun("a", 16, 0, 2, 4)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
	created := digest()
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, reportEntry("s", "a", attempt, 1, 1, 1, nil))
	if digest() != created {
		t.Error("it changes before anything is answered")
	}
	record(t, store, 5, reportEntry("s", "a", attempt, 2, 1, 1, nil))
	first := digest()
	if first == created {
		t.Error("it stays although a trial is answered")
	}
	record(t, store, 6, reportEntry("s", "a", attempt, 3, 1, 1, nil))
	ok(t, store.SetStudyState(7, at(7), "s", lifecycle.StudyPaused))
	if digest() != first {
		t.Error("it changes with an epoch that answers nothing, or with a pause")
	}
	ok(t, store.SetStudyState(8, at(8), "s", lifecycle.StudyCanceled))
	if digest() == first {
		t.Error("it stays although a trial will not be answered")
	}
}

// TestDigestOfNothing: there is no digest of what is not there.
func TestDigestOfNothing(t *testing.T) {
	if _, err := newStore(t).Snapshot().Digest("x"); !isNotFound(err) {
		t.Errorf("error %v", err)
	}
}
