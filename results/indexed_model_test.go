package results

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/account"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestIndexedStudies: a study whose runs follow from its spec and one whose runs are all listed give the same answers,
// whatever happens to both. A replica that is restored now and then stays the same, and who waits for an answer is
// woken when it changes.
func TestIndexedStudies(tb *testing.T) {
	drawFew(tb)
	rapid.Check(tb, func(t *rapid.T) { newPair(tb, t).run(t) })
}

// TestShuffledReplicas: so does a replica where studies have a random order and a budget, which no list has.
func TestShuffledReplicas(tb *testing.T) {
	drawFew(tb)
	rapid.Check(tb, func(t *rapid.T) {
		p := newPair(tb, t)
		p.shuffled = true
		p.run(t)
	})
}

type pair struct {
	tb *testing.T
	t  *rapid.T
	// replica gets the same commands as indexed, and is restored from it now and then.
	indexed, replica, listed *Store
	index                    uint64
	specs                    map[string]*trellisv1.StudySpec
	// shuffled says that listed lists no runs either: studies have orders and budgets.
	shuffled bool
	// checks is how often answers have been compared.
	checks int
	// ended says which runs of listed had failed or been canceled before the last command, by study, id and state.
	ended map[string]bool
}

func newPair(tb *testing.T, t *rapid.T) *pair {
	return &pair{
		tb: tb, t: t, indexed: newStore(tb), replica: newStore(tb), listed: newStore(tb),
		specs: map[string]*trellisv1.StudySpec{},
	}
}

func (p *pair) run(t *rapid.T) {
	p.setWorker(lifecycle.WorkerReady)
	p.create(t)
	t.Repeat(map[string]func(*rapid.T){
		"create": p.create, "grant": p.grant, "report": p.report, "end": p.end, "state": p.state, "extend": p.extend,
		"finish": p.finish, "retry": p.retry, "delete": p.remove, "restore": p.restore, "refuse": p.refuse,
		"contradict": p.contradict, "lose": p.lose, "raise": p.raise, "over": p.over, "": p.check,
	})
}

// both gives all stores a command, and wants the same error of all.
func (p *pair) both(what string, do func(*Store) error) {
	p.index++
	checkWoken := func(string) {}
	if p.index%3 == 0 {
		checkWoken = p.watch()
	}
	a, again, b := do(p.indexed), do(p.replica), do(p.listed)
	if (a == nil) != (b == nil) || fmt.Sprint(a) != fmt.Sprint(again) {
		p.t.Fatalf("%s: error %v, of the replica %v, of the listed one %v", what, a, again, b)
	}
	checkWoken(what)
}

// watch asks for what others wait for. The function that it returns fails if an answer has changed and nobody is woken.
func (p *pair) watch() (checkWoken func(command string)) {
	type query struct {
		what string
		ask  func(*Snapshot, memdb.WatchSet) (any, error)
	}
	queries := []query{
		{"next runs", func(s *Snapshot, ws memdb.WatchSet) (any, error) { return s.NextRuns(ws, 3) }},
		{"held runs", func(s *Snapshot, ws memdb.WatchSet) (any, error) {
			runs, err := s.RunsHeldBy(ws, "w")
			var ids []string
			for _, run := range runs {
				ids = append(ids, run.Study+" "+run.Id)
			}
			return ids, err
		}},
	}
	for _, name := range p.names() {
		queries = append(queries,
			query{name, func(s *Snapshot, ws memdb.WatchSet) (any, error) { return s.Study(ws, name) }},
			query{name + " best", func(s *Snapshot, ws memdb.WatchSet) (any, error) { return s.Best(ws, name) }})
		if trial, err := p.indexed.Snapshot().Trial(name, p.index%7); err == nil {
			queries = append(queries, query{name + " " + trial.Run, func(s *Snapshot, ws memdb.WatchSet) (any, error) {
				return s.Run(ws, name, trial.Run)
			}})
		}
	}
	answers, sets := make([]string, len(queries)), make([]memdb.WatchSet, len(queries))
	for i, q := range queries {
		sets[i] = memdb.NewWatchSet()
		answers[i] = fmt.Sprint(q.ask(p.indexed.Snapshot(), sets[i]))
	}
	return func(command string) {
		for i, q := range queries {
			if now := fmt.Sprint(q.ask(p.indexed.Snapshot(), nil)); now != answers[i] && !hasFired(sets[i]) {
				p.t.Fatalf("%s: who waits for %s is not woken:\n%s\n%s", command, q.what, answers[i], now)
			}
		}
	}
}

func hasFired(ws memdb.WatchSet) bool {
	for channel := range ws {
		select {
		case <-channel:
			return true
		default:
		}
	}
	return false
}

func (p *pair) setWorker(state trellisv1.WorkerState) {
	p.both("set a worker", func(s *Store) error {
		return s.SetWorker(p.index, at(p.index), trajectory.LatestRules, &trellisv1.Worker{
			Name: "w", State: state, Slots: 5, Machine: "m",
		})
	})
}

func (p *pair) lose(t *rapid.T) {
	p.setWorker(rapid.SampledFrom([]trellisv1.WorkerState{lifecycle.WorkerLost, lifecycle.WorkerGone}).Draw(t, "state"))
	p.setWorker(lifecycle.WorkerReady)
}

func (p *pair) names() []string {
	var names []string
	for name := range p.specs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (p *pair) create(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	if p.specs[name] != nil {
		t.Skip("it is there")
	}
	axis := func(label string, values ...int) *trellisv1.Axis {
		return trellisv1.AxisOf(rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 3, rapid.ID).Draw(t, label)...)
	}
	spec := &trellisv1.StudySpec{Name: name, Model: "synthetic", Seeds: axis("seeds", 1, 2, 3)}
	for range rapid.IntRange(1, 2).Draw(t, "grids") {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim": axis("latent_dim", 1, 2, 3, 4), "learning_rate": axis("learning_rate", 1, 2),
			"weight_decay": trellisv1.AxisOf(0), "max_epochs": axis("max_epochs", 1, 2, 3, 5), "batch_size": trellisv1.AxisOf(64),
		}})
	}
	spec.Where = rapid.SampledFrom([]string{"", "latent_dim > 1", "max_epochs > 1 || latent_dim == 2"}).Draw(t, "where")
	spec.Pruning = rapid.SampledFrom([]*trellisv1.Pruning{nil, nil, ashaOf(1, 2), medianOf(1, 1, 1)}).Draw(t, "pruning")
	if rapid.IntRange(0, 3).Draw(t, "program") == 0 {
		of := programSpec(rapid.Bool().Draw(t, "deterministic"))
		spec.Program, spec.Objective, spec.Model = of.Program, of.Objective, ""
	}
	if rapid.IntRange(0, 3).Draw(t, "settles") == 0 {
		spec.Settle = &trellisv1.Settle{MaxSeeds: 5}
	}
	if rapid.Bool().Draw(t, "audits") {
		spec.Audit = 0.5
	}
	if p.shuffled {
		spec.Order = trellisv1.Order_ORDER_RANDOM
		spec.Budget = &trellisv1.Budget{Trials: rapid.Uint64Range(1, 20).Draw(t, "budget")}
	}
	if rapid.Bool().Draw(t, "limited") {
		spec.Budget = drawBudget(t, 0)
	}
	study := &trellisv1.Study{Name: name, Spec: spec, Numerics: "1", Fresh: rapid.Bool().Draw(t, "fresh")}
	its, err := lattice.New(study)
	if err != nil {
		t.Skip("nothing is left")
	}
	if _, more := its.From(its.Indices() - 1); !more && spec.Budget == nil {
		t.Skip("listed trials end before the grid does")
	}
	runs, trials := listedOf(its, 0)
	p.both("create", func(s *Store) error {
		if s == p.listed && !p.shuffled {
			return s.CreateListed(p.index, at(p.index), study, runs, trials)
		}
		return s.CreateStudy(p.index, at(p.index), study)
	})
	p.specs[name] = spec
	if !p.shuffled {
		p.edit(name, func(_ *change, listed *trellisv1.Study) { listed.Indices = its.Indices() })
	}
}

func (p *pair) grant(t *rapid.T) {
	runs, err := p.listed.Snapshot().NextRuns(nil, rapid.IntRange(1, 4).Draw(t, "runs"))
	ok(p.tb, err)
	if len(runs) == 0 {
		t.Skip("no run waits")
	}
	run := runs[len(runs)-1]
	grants := func(s *Store, placed bool) []*trellisv1.Grant {
		grant := &trellisv1.Grant{Study: run.Study, Run: run.Id, Worker: "w"}
		if placed {
			its, err := s.Snapshot().Run(nil, run.Study, run.Id)
			ok(p.tb, err)
			place, err := s.Snapshot().Place(its)
			ok(p.tb, err)
			grant.Place = &place
		}
		return []*trellisv1.Grant{grant}
	}
	placed := rapid.Bool().Draw(t, "placed")
	p.both("grant", func(s *Store) error { return s.Grant(p.index, at(p.index), grants(s, placed))[0] })
}

// held draws a run that the worker holds.
func (p *pair) held(t *rapid.T) *trellisv1.Run {
	runs, err := p.listed.Snapshot().RunsHeldBy(nil, "w")
	ok(p.tb, err)
	if len(runs) == 0 {
		t.Skip("no run is held")
	}
	return rapid.SampledFrom(runs).Draw(t, "run")
}

func (p *pair) record(entry *trellisv1.RecordCommand_Entry) {
	p.both("record", func(s *Store) error {
		return s.Record(p.index, at(p.index), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{entry})[0]
	})
}

// lossOf is what an epoch of a run has, whoever trains it.
func lossIn(run *trellisv1.Run, epoch uint32) float64 {
	return float64((uint32(run.Id[0])*7+uint32(run.Id[1])*3+epoch*5)%23) / 4
}

func (p *pair) report(t *rapid.T) {
	run := p.held(t)
	if run.Epochs == run.Parameters.MaxEpochs {
		t.Skip("it has all epochs")
	}
	var losses []float64
	for epoch := run.Epochs + 1; epoch <= min(run.Parameters.MaxEpochs, run.Epochs+2); epoch++ {
		losses = append(losses, lossIn(run, epoch))
	}
	p.record(p.losses(t, run, run.Epochs+1, losses))
	p.record(checkpointEntry(run.Study, run.Id, run.Attempt, run.Epochs+uint32(len(losses)), digest("a")))
}

// losses are reports of what a model or a program trains, which reports the objective's metric mostly.
func (p *pair) losses(t *rapid.T, run *trellisv1.Run, first uint32, losses []float64) *trellisv1.RecordCommand_Entry {
	if p.specs[run.Study].GetProgram() == nil {
		tests := map[uint32]float64{first: losses[0] + 1}
		return columnEntry(run.Study, run.Id, run.Attempt, first, losses, losses, tests)
	}
	metric := rapid.SampledFrom([]string{"acc", "acc", "acc", "other"}).Draw(t, "metric")
	return ownEntry(run.Study, run.Id, run.Attempt, first, map[string][]float64{metric: losses})
}

// contradict reports the first epoch again, as it is recorded or not.
func (p *pair) contradict(t *rapid.T) {
	run := p.held(t)
	p.record(p.losses(t, run, 1, []float64{lossIn(run, 1) + float64(rapid.IntRange(0, 1).Draw(t, "error"))}))
}

func (p *pair) end(t *rapid.T) {
	run := p.held(t)
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		p.record(returnEntry(run.Study, run.Id, run.Attempt))
	case 1:
		p.record(failureEntry(run.Study, run.Id, run.Attempt, trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, "no"))
	default:
		if run.Epochs == 0 {
			t.Skip("it has no epochs")
		}
		p.record(stageEntry(run.Study, run.Id, run.Attempt, run.Epochs))
	}
}

// finish trains all runs that wait.
func (p *pair) finish(t *rapid.T) {
	for {
		runs, err := p.listed.Snapshot().NextRuns(nil, 1)
		ok(p.tb, err)
		workers, err := p.listed.Snapshot().FreeWorkers(nil)
		ok(p.tb, err)
		if len(runs) == 0 || len(workers) == 0 {
			return
		}
		run := runs[0]
		p.both("grant", func(s *Store) error {
			return s.Grant(p.index, at(p.index), []*trellisv1.Grant{{Study: run.Study, Run: run.Id, Worker: "w"}})[0]
		})
		attempt := AttemptNumber(p.index, 0)
		var losses []float64
		for epoch := run.Epochs + 1; epoch <= run.Parameters.MaxEpochs; epoch++ {
			losses = append(losses, lossIn(run, epoch))
		}
		held := trajectory.CopyRun(run)
		if held.Attempt = attempt; len(losses) == 0 {
			p.record(p.losses(t, held, 1, []float64{lossIn(run, 1)})) // It is audited.
		} else {
			p.record(p.losses(t, held, run.Epochs+1, losses))
		}
		p.record(stageEntry(run.Study, run.Id, attempt, run.Parameters.MaxEpochs))
		if now, err := p.listed.Snapshot().Run(nil, run.Study, run.Id); err == nil && now.Attempt == attempt {
			p.record(returnEntry(run.Study, run.Id, attempt))
			return
		}
	}
}

func (p *pair) state(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	state := rapid.SampledFrom([]trellisv1.StudyState{
		lifecycle.StudyPaused, lifecycle.StudyRunning, lifecycle.StudyRunning, lifecycle.StudyCanceled,
	}).Draw(t, "state")
	p.both("set the state", func(s *Store) error { return s.SetStudyState(p.index, at(p.index), name, state) })
}

// refuse fails all runs of a study that wait, as programs do.
func (p *pair) refuse(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	if p.specs[name] == nil || rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip("not this time")
	}
	p.both("refuse", func(s *Store) error {
		c := s.begin(p.index, at(p.index))
		defer c.abort()
		its, err := c.sections.catalog(name)
		if err != nil {
			return err
		}
		first, err := c.sections.at(its, 0)
		if err != nil {
			return err
		}
		if err := c.refuseWaiting(first, 0); err != nil {
			return err
		}
		return c.commit()
	})
}

func (p *pair) retry(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	p.both("retry", func(s *Store) error {
		_, err := s.RetryStudy(p.index, at(p.index), trajectory.LatestRules, name, true)
		return err
	})
}

func (p *pair) extend(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	study, err := p.listed.Snapshot().Study(nil, name)
	if err != nil {
		t.Skip("no such study")
	}
	command := &trellisv1.ExtendStudyCommand{Study: name, Indices: study.Indices}
	if rapid.Bool().Draw(t, "values") && (p.shuffled || !grid.Sampled(study.Spec)) {
		spec := proto.CloneOf(study.Spec)
		axis := rapid.SampledFrom([]string{"max_epochs", "latent_dim", "seeds"}).Draw(t, "axis")
		if values := spec.Seeds.GetIntegers(); axis == "seeds" {
			if more := rapid.Int64Range(1, 5).Draw(t, "seed"); !slices.Contains(values, more) {
				spec.Seeds = &trellisv1.Axis{Integers: append(slices.Clone(values), more)}
			}
		}
		if grid.Sampled(spec) && rapid.Bool().Draw(t, "with a budget") {
			if spec.Budget.Trials += rapid.Uint64Range(1, 20).Draw(t, "trials"); rapid.IntRange(0, 5).Draw(t, "drop") == 0 {
				spec.Budget = nil
			}
		}
		for _, g := range spec.Grid {
			if axis == "seeds" {
				break
			}
			values := g.Axes[axis].GetIntegers()
			if more := rapid.Int64Range(1, 7).Draw(t, "value"); !slices.Contains(values, more) {
				g.Axes[axis] = &trellisv1.Axis{Integers: append(slices.Clone(values), more)}
			}
		}
		command.Spec = spec
	} else {
		at := study.Spec.Grid[0].Axes
		command.Points = []*trellisv1.Parameters{{
			MaxEpochs: uint32(at["max_epochs"].GetIntegers()[0]), Seed: uint32(rapid.IntRange(1, 5).Draw(t, "seed")),
			Values: trellisv1.ValuesOf(map[string]any{
				"latent_dim": int(at["latent_dim"].GetIntegers()[0]), "learning_rate": int(at["learning_rate"].GetIntegers()[0]),
				"weight_decay": 0, "batch_size": 64,
			}),
		}}
	}
	settled := study.Spec.Settle != nil && rapid.Bool().Draw(t, "settled")
	trials, runs, next, refused := grid.ExpandExtension(study, command)
	if !grid.Sampled(study.Spec) {
		ok(p.tb, refused)
	}
	p.both("extend", func(s *Store) error {
		if command.Spec != nil && (p.shuffled || s != p.listed) {
			_, err := s.ExtendStudy(p.index, at(p.index), name, Extension{
				Indices: study.Indices, Spec: command.Spec, KeepDifference: true, Settled: settled, Indexed: true,
			})
			if !errors.Is(err, ErrNotIndexed) {
				return err
			}
		}
		if refused != nil {
			return refused
		}
		_, err := s.ExtendStudy(p.index, at(p.index), name, Extension{
			Indices: study.Indices, NextIndices: next, Spec: command.Spec, KeepDifference: true, Runs: runs, Trials: trials,
			Settled: settled,
		})
		return err
	})
}

func (p *pair) remove(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip("not this time")
	}
	p.both("delete", func(s *Store) error { return s.DeleteStudy(p.index, name, 0, 0) })
	delete(p.specs, name)
}

func (p *pair) restore(*rapid.T) {
	var data bytes.Buffer
	_, err := p.indexed.Snapshot().WriteTo(&data)
	ok(p.tb, err)
	ok(p.tb, p.replica.Restore(&data))
}

// check compares all answers.
func (p *pair) check(t *rapid.T) {
	p.checks++
	a, b := p.answers(t, p.indexed, false), p.answers(t, p.listed, false)
	if !slices.Equal(a, b) {
		a, b = p.answers(t, p.indexed, true), p.answers(t, p.listed, true)
	}
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			t.Fatalf("answer %d:\n got %s\nwant %s", i, a[min(i, len(a)-1)], b[min(i, len(b)-1)])
		}
	}
	p.checkChanged(t)
	for _, name := range p.names() {
		p.checkFiltered(t, p.indexed.Snapshot(), name, 2)
	}
	checkIndexes(t, p.indexed.Snapshot())
	if p.replica == nil {
		return
	}
	for _, name := range p.names() {
		p.checkFiltered(t, p.replica.Snapshot(), name, 1)
	}
	if got, want := mustHash(p.tb, p.replica.Snapshot()), mustHash(p.tb, p.indexed.Snapshot()); got != want {
		t.Fatalf("the replica has hash %x, want %x", got, want)
	}
	tables := tableTexts(t, p.indexed.Snapshot())
	for name, rows := range tableTexts(t, p.replica.Snapshot()) {
		if !slices.Equal(rows, tables[name]) {
			t.Fatalf("table %s:\n got %q\nwant %q", name, rows, tables[name])
		}
	}
}

// checkChanged fails if who watches a study is not told of runs that have failed or been canceled with the last
// command.
func (p *pair) checkChanged(t *rapid.T) {
	changed := func(s *Store, name string, since uint64) map[string]bool {
		runs, err := s.Snapshot().RunsChangedSince(name, since)
		ok(p.tb, err)
		ids := map[string]bool{}
		for _, run := range runs {
			ids[run.Id+lifecycle.Name(run.State)] = run.State == lifecycle.RunCanceled || run.State == lifecycle.RunFailed
		}
		return ids
	}
	had := p.ended
	p.ended = map[string]bool{}
	for _, name := range p.names() {
		p.checkLatest(t, name)
	}
	for _, name := range p.names() {
		told := changed(p.indexed, name, p.index-1)
		for run, ended := range changed(p.listed, name, p.index-1) {
			if _, is := told[run]; ended && !is && !had[name+run] {
				t.Fatalf("run %s of study %s has changed, and nobody is told", run, name)
			}
		}
		for run, ended := range changed(p.listed, name, 0) {
			p.ended[name+run] = ended
		}
	}
}

// checkLatest fails if the runs that are being trained, and some of those that have changed last, are not those that
// the store has.
func (p *pair) checkLatest(t *rapid.T, name string) {
	snapshot := p.indexed.Snapshot()
	const since = 0
	changed, err := snapshot.RunsChangedSince(name, since)
	ok(p.tb, err)
	const few, most = 3, 2
	latest, all, err := snapshot.LatestRuns(name, since, few, most)
	ok(p.tb, err)
	if all && len(latest) != len(changed) || !all && len(changed) <= few {
		t.Fatalf("the latest runs of %s are %v, all: %v, want %v", name, latest, all, changed)
	}
	if all {
		for i, run := range latest {
			if !proto.Equal(run, changed[i]) {
				t.Fatalf("the latest of %s is %v, want %v", name, run, changed[i])
			}
		}
		return
	}
	held := 0
	for _, run := range latest {
		its, err := snapshot.Run(nil, name, run.Id)
		ok(p.tb, err)
		if !proto.Equal(its, run) {
			t.Fatalf("the latest is %v, want %v", run, its)
		}
		if run.Worker != "" {
			held++
		}
	}
	running := 0
	for _, run := range changed {
		if run.Worker != "" {
			running++
		}
	}
	if held != running || len(latest)-held > most || len(latest) < most ||
		!slices.IsSortedFunc(latest, func(a, b *trellisv1.Run) int { return cmp.Compare(a.ModifyIndex, b.ModifyIndex) }) {
		t.Fatalf("the latest runs of %s are %v, %d of which are held, want %d", name, latest, held, running)
	}
}

// sorted is the first hundred trials by a filter that all trials meet, for which all are read and sorted.
func (p *pair) sorted(snapshot *Snapshot, study, order string) *trellisv1.ListTrialsResponse {
	all, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{
		Study: study, OrderBy: order, PageSize: 100, Filter: "index >= 0",
	})
	ok(p.tb, err)
	return all
}

// checkFirstPage compares a first page with what all trials are, sorted.
func checkFirstPage(t *rapid.T, request *trellisv1.ListTrialsRequest, got, sorted *trellisv1.ListTrialsResponse) {
	want := sorted.Trials[:min(len(sorted.Trials), int(request.PageSize))]
	if len(got.GetTrials()) != len(want) || got.Total != sorted.Total ||
		(got.NextPageToken == "") != (uint64(len(want)) == sorted.Total) {
		t.Fatalf("by %q: %d trials of %d, want %d of %d", request.OrderBy, len(got.GetTrials()), got.GetTotal(), len(want),
			sorted.Total)
	}
	for i, trial := range got.Trials {
		if !proto.Equal(trial, want[i]) {
			t.Fatalf("by %q: trial %d is\n%v\nwant\n%v", request.OrderBy, i, trial, want[i])
		}
	}
}

// answers are what a store says, but for what tells the two apart: how runs are stored, and when one was changed that
// is not. Readable texts take longer to write, and are equal where the others are.
func (p *pair) answers(t *rapid.T, s *Store, readable bool) (texts []string) {
	snapshot := s.Snapshot()
	add := func(what string, message proto.Message, err error) {
		switch m := message.(type) {
		case *trellisv1.Study:
			m = CopyStudy(m)
			m.Indexed, m.Untouched, m.GridTrials, m.SpecHistory, m.EarlierSpecs = false, nil, 0, nil, nil
			m.Extensions, m.Sharing = nil, nil
			message = m
		case *trellisv1.Run:
			m = trajectory.CopyRun(m)
			m.Place, m.ModifyIndex = 0, 0
			message = m
		}
		data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		text := what + ": " + fmt.Sprint(err) + string(data)
		if readable {
			text = fmt.Sprintf("%s: %v %v %x", what, message, err, data)
		}
		texts = append(texts, text)
	}
	for _, name := range p.names() {
		study, err := snapshot.Study(nil, name)
		ok(p.tb, err)
		add(name, study, nil)
		for i, order := range []string{
			"", "-index", "objective", "-objective", "latent_dim", "-epochs", "state", "-max_epochs",
			"-best_epoch", "test_loss",
		} {
			// Lists take most of the time. What makes one wrong stays, and each is looked at after every third command.
			if (i+p.checks)%3 != 0 {
				continue
			}
			sorted := p.sorted(snapshot, name, order)
			for _, size := range []uint32{3, 100} {
				request := &trellisv1.ListTrialsRequest{Study: name, OrderBy: order, PageSize: size}
				before := uint64(0)
				for page := 0; ; page++ {
					response, err := snapshot.ListTrials(request)
					if page == 0 {
						checkFirstPage(t, request, response, sorted)
					}
					if before > 0 && err == nil {
						p.checkJump(t, snapshot, request, response, before)
					}
					before += uint64(len(response.GetTrials()))
					add(fmt.Sprintf("%s by %q, page %d of %d", name, order, page, size), response, err)
					if err != nil || response.NextPageToken == "" || page > 20 {
						break
					}
					request.PageToken = response.NextPageToken
				}
			}
		}
		texts = append(texts, AskInsight.Everything(snapshot, name)...)
		best, err := snapshot.Best(nil, name)
		add(name+" best", best, err)
		digest, err := snapshot.Digest(name)
		ok(p.tb, err)
		texts = append(texts, digest)
		served, err := snapshot.Served(name)
		ok(p.tb, err)
		sum, err := snapshot.Account(name)
		ok(p.tb, err)
		wanted := account.New()
		for its := range served {
			wanted.Add(its)
			add(name+" serves", its.Run, nil)
			texts = append(texts, fmt.Sprint(its.Indexes, len(its.Answers)))
		}
		if math.Abs(sum.SecondsSaved-wanted.SecondsSaved) > 1e-9 {
			t.Fatalf("%v seconds saved, want %v", sum.SecondsSaved, wanted.SecondsSaved)
		}
		if sum.SecondsSaved = wanted.SecondsSaved; !reflect.DeepEqual(sum, wanted) {
			t.Fatalf("the account is\n%+v\nwant\n%+v", sum, wanted)
		}
		failed, err := snapshot.Failed(name)
		ok(p.tb, err)
		if n := len(slices.Collect(failed)); n != int(wanted.Failures) {
			t.Fatalf("%d failed runs, want %d", n, wanted.Failures)
		}
		for index := range study.Indices + 2 {
			trial, err := snapshot.Trial(name, index)
			add(fmt.Sprint(name, " trial ", index), trial, err)
		}
	}
	for _, n := range []int{1, 3, 1000} {
		next, err := snapshot.NextRuns(nil, n)
		for _, run := range next {
			add(fmt.Sprint("next of ", n), run, err)
		}
	}
	held, err := snapshot.RunsHeldBy(nil, "w")
	for _, run := range held {
		add("held", run, err)
		asked, err := snapshot.AskedEpochs(run)
		texts = append(texts, fmt.Sprint(asked, err))
	}
	workers, err := snapshot.Workers(nil)
	for _, worker := range workers {
		add("worker", worker, err)
	}
	return texts
}

// TestRetriedRunsLearn: untouched runs that have failed with others learn, when they are retried, what other studies
// have got of them meanwhile.
func TestRetriedRunsLearn(t *testing.T) {
	store := newStore(t)
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: 200,
	}))
	ok(t, store.CreateStudy(2, at(2), indexedStudy("refused", 200, 3)))
	// One run is touched, so that its section has a row, and its neighbors are untouched.
	next, err := store.Snapshot().NextRuns(nil, 1)
	ok(t, err)
	attempt := grant1(t, store, 3, "refused", next[0].Id, "worker")
	record(t, store, 4, returnEntry("refused", next[0].Id, attempt))
	c := store.begin(5, at(5))
	its, err := c.sections.catalog("refused")
	ok(t, err)
	first, err := c.sections.at(its, 0)
	ok(t, err)
	ok(t, c.refuseWaiting(first, 0))
	ok(t, c.commit())
	ok(t, store.CreateStudy(6, at(6), indexedStudy("other", 200, 3)))
	trainNext(t, store, "other", 7, 200, 3)
	study, err := store.Snapshot().Study(nil, "refused")
	ok(t, err)
	if p := study.Progress; p.RunsFailed != 200 || p.TrialsFailed != 200 || p.EpochsLeft != 0 || p.Epochs != 0 {
		t.Fatalf("all runs have failed, but the progress is %v", p)
	}
	retried, err := store.RetryStudy(100, at(100), trajectory.LatestRules, "refused", false)
	ok(t, err)
	if study, err = store.Snapshot().Study(nil, "refused"); err != nil || retried != 200 {
		t.Fatalf("%d runs retried, error %v", retried, err)
	}
	if p := study.Progress; p.TrialsSucceeded != 200 || p.EpochsShared != 600 || study.State != lifecycle.StudyCompleted {
		t.Errorf("after the retry the study is %v: %v", study.State, p)
	}
	checkIndexes(t, store.Snapshot())
}

// TestSample: each run stands for some, together all stand for all, and a small study is returned whole.
func TestSample(t *testing.T) {
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), indexedStudy("s", 1000, 3)))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: 1000,
	}))
	trainNext(t, store, "s", 3, 300, 3)
	for _, about := range []int{7, 90, 1000, 5000} {
		sample, err := store.Snapshot().Sample("s", about)
		ok(t, err)
		all, ended, seen := 0, 0, map[string]bool{}
		for like := range sample {
			all += like.Runs
			if like.Run.State == lifecycle.RunSucceeded {
				ended += like.Runs
			}
			if (like.Run.Epochs > 0) != (like.Losses != nil) || like.Run.Parameters.MaxEpochs != 3 {
				t.Errorf("%v with losses %v", like.Run, like.Losses)
			}
			seen[fmt.Sprint(like.Run.Parameters)] = true
		}
		// The section in which training has come to a stop is open.
		if all != 1000 || ended != 300 || len(seen) > 2*about+sectionSize || len(seen) < min(about, 1000) {
			t.Errorf("%d runs for about %d stand for %d, of which %d have ended", len(seen), about, all, ended)
		}
	}
}

// TestSmallRelative: a study of one run that a large one has trained costs no more than that run.
func TestSmallRelative(t *testing.T) {
	store := newStore(t)
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: 1024,
	}))
	ok(t, store.CreateStudy(2, at(2), indexedStudy("large", 20_000, 1)))
	trainNext(t, store, "large", 3, 20_000, 1)
	small := indexedStudy("small", 20_000, 1)
	small.Spec.Grid[0].Axes["latent_dim"], small.Spec.Grid[0].Axes["learning_rate"] = trellisv1.AxisOf(7), trellisv1.AxisOf(3)
	index, took := uint64(1_000_000), time.Duration(math.MaxInt64)
	for range 5 {
		index += 2
		began := time.Now()
		ok(t, store.CreateStudy(index, at(index), small))
		took = min(took, time.Since(began))
		study, err := store.Snapshot().Study(nil, "small")
		ok(t, err)
		if study.State != lifecycle.StudyCompleted || study.Progress.EpochsShared != 1 {
			t.Fatalf("the study has not learned its run: %v", study)
		}
		ok(t, store.DeleteStudy(index+1, "small", 0, 0))
	}
	t.Logf("took %v", took)
	if took > 20*time.Millisecond && !raceDetector {
		t.Errorf("a study of a run took %v", took)
	}
}

// TestDivergedOnAPage: trials of sealed sections, of which a page has only the keys at first, are shown as others are.
func TestDivergedOnAPage(t *testing.T) {
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), indexedStudy("s", 200, 1)))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: lifecycle.WorkerReady, Slots: 200,
	}))
	for place := range uint32(64) {
		c, err := store.Snapshot().catalog("s")
		ok(t, err)
		run, index := c.Untouched(place).Run, 3+2*uint64(place)
		ok(t, store.Grant(index, at(index), []*trellisv1.Grant{{Study: "s", Run: run.Id, Worker: "w", Place: &place}})[0])
		attempt := AttemptNumber(index, 0)
		record(t, store, index+1, columnEntry("s", run.Id, attempt, 1, []float64{1}, []float64{math.NaN()}, nil),
			stageEntry("s", run.Id, attempt, 1))
	}
	for _, order := range []string{"", "-index", "objective", "-objective", "latent_dim", "-latent_dim", "-epochs", "state"} {
		response, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s", OrderBy: order, PageSize: 200})
		ok(t, err)
		diverged := 0
		for _, trial := range response.Trials {
			if trial.State == lifecycle.TrialDiverged {
				diverged++
			}
		}
		if diverged != 64 {
			t.Errorf("by %q: %d trials are shown as diverged, want 64", order, diverged)
		}
	}
}
