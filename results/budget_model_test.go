package results

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// These are the parts of TestIndexedStudies that are about budgets. The study whose runs are all listed gets those that
// the lattice of a larger budget has as if they had been added to it.

// drawBudget draws a budget of at least one limit, whose time is over so long after the study was created.
func drawBudget(t *rapid.T, least uint64) *trellisv1.Budget {
	budget := &trellisv1.Budget{}
	limits := rapid.IntRange(1, 7).Draw(t, "limits")
	if limits&1 != 0 {
		budget.Trials = rapid.Uint64Range(1, 12).Draw(t, "trials")
	}
	if limits&2 != 0 {
		budget.Epochs = rapid.Uint64Range(1, 30).Draw(t, "epochs")
	}
	if limits&4 != 0 {
		budget.Time = durationpb.New(time.Duration(least+rapid.Uint64Range(1, 20).Draw(t, "time")) * time.Second)
	}
	return budget
}

// listedOf lists the runs of a lattice from a place on, and their trials.
func listedOf(its *lattice.Lattice, from uint32) (runs []*trellisv1.Run, trials []*trellisv1.Trial) {
	for place := from; place < its.Runs(); place++ {
		run := its.Run(place)
		run.Place = 0
		for milestone, index := range its.Indexes(place) {
			trials = append(trials, &trellisv1.Trial{
				Study: run.Study, Index: index, Run: run.Id,
				Parameters: trajectory.ParametersAt(run, run.Milestones[milestone]),
			})
		}
		runs = append(runs, run)
	}
	return runs, trials
}

// edit changes a listed study as no command does.
func (p *pair) edit(name string, do func(*change, *trellisv1.Study)) {
	c := p.listed.begin(p.index, at(p.index))
	defer c.abort()
	study, err := c.studies.get(textKey(name))
	ok(p.tb, err)
	do(c, c.studies.edit(study))
	ok(p.tb, c.commit())
}

// raise raises or drops the budget of a study.
func (p *pair) raise(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	study, err := p.indexed.Snapshot().Study(nil, name)
	if err != nil || study.Spec.Budget == nil || study.State == lifecycle.StudyCanceled {
		t.Skip("it has no budget to raise")
	}
	spec := proto.CloneOf(study.Spec)
	if spec.Budget = nil; rapid.IntRange(0, 3).Draw(t, "limited") > 0 {
		spec.Budget = drawBudget(t, p.index-study.CreateIndex)
	}
	if !grid.Extends(spec, study.Spec) {
		t.Skip("it is not larger")
	}
	before, err := p.indexed.Snapshot().catalog(name)
	ok(p.tb, err)
	if len(before.Listed()) > 0 {
		t.Skip("what has been added comes after the spec's runs, and in the listed study before what is added now")
	}
	p.index++
	extension := Extension{
		Indices: study.Indices, NextIndices: study.Indices, Spec: spec,
		KeepDifference: rapid.Bool().Draw(t, "difference"),
	}
	added, err := p.indexed.ExtendStudy(p.index, at(p.index), name, extension)
	others := []*Store{p.replica}
	if p.shuffled {
		others = append(others, p.listed)
	}
	for _, other := range others {
		if _, otherErr := other.ExtendStudy(p.index, at(p.index), name, extension); fmt.Sprint(otherErr) != fmt.Sprint(err) {
			t.Fatalf("raise the budget: error %v, of another %v", err, otherErr)
		}
	}
	if err != nil {
		return // It adds nothing.
	}
	now, err := p.indexed.Snapshot().Study(nil, name)
	ok(p.tb, err)
	its, err := p.indexed.Snapshot().catalog(name)
	ok(p.tb, err)
	if got := its.Trials() - before.Trials(); got != added {
		t.Fatalf("%d trials added, but it says %d", got, added)
	}
	if len(now.Extensions) == 0 { // Else it has the runs of its first spec, whatever larger grids would begin with.
		p.sameAsCreated(t, now)
	}
	if p.shuffled {
		return
	}
	runs, trials := listedOf(its.Base.Lattice, before.BaseRuns())
	p.edit(name, func(c *change, listed *trellisv1.Study) { p.addListed(c, listed, now, runs, trials) })
}

// sameAsCreated wants the runs of a study to be those of one that is created with the budget that it has now.
func (p *pair) sameAsCreated(t *rapid.T, study *trellisv1.Study) {
	spec := proto.CloneOf(study.Spec)
	if earlier := grid.EarlierSpecs(study); len(earlier) > 0 {
		spec = proto.CloneOf(earlier[0])
		spec.Budget = study.Spec.Budget
	}
	fresh := newStore(p.tb)
	ok(p.tb, fresh.CreateStudy(study.CreateIndex, at(1), &trellisv1.Study{Name: study.Name, Spec: spec, Numerics: "1"}))
	wanted, err := fresh.Snapshot().catalog(study.Name)
	ok(p.tb, err)
	its, err := p.indexed.Snapshot().catalog(study.Name)
	ok(p.tb, err)
	if its.BaseRuns() != wanted.BaseRuns() {
		t.Fatalf("%d runs, want %d", its.BaseRuns(), wanted.BaseRuns())
	}
	for place := range its.BaseRuns() {
		if got, want := its.Base.Run(place), wanted.Base.Run(place); !proto.Equal(got, want) {
			t.Fatalf("place %d:\n got %v\nwant %v", place, got, want)
		}
	}
	created, err := fresh.Snapshot().Study(nil, study.Name)
	ok(p.tb, err)
	if created.GridTrials != study.GridTrials {
		t.Fatalf("%d trials of the whole grid, want %d", study.GridTrials, created.GridTrials)
	}
}

// addListed gives a listed study what the indexed one has got by its new budget.
func (p *pair) addListed(
	c *change, listed, indexed *trellisv1.Study, runs []*trellisv1.Run, trials []*trellisv1.Trial,
) {
	listed.Spec = proto.CloneOf(indexed.Spec)
	begins := false
	var err error
	if !TimeIsOver(listed, at(p.index).AsTime()) {
		begins, err = c.reopenRuns(listed)
		ok(p.tb, err)
	}
	if len(runs) == 0 && !begins {
		return
	}
	before, err := c.sections.catalog(listed.Name)
	ok(p.tb, err)
	g := &growth{before: before}
	_, next := before.ListedPlaces()
	all, err := c.listed(before)
	ok(p.tb, err)
	entries := before.Listed()
	for i, run := range runs {
		added := newRun(listed, run, grid.NewShared())
		added.State, added.Error = trajectory.StateOfUntouched(indexed.Untouched), indexed.GetUntouched().GetError()
		g.added = append(g.added, added)
		for _, trial := range trials {
			if trial.Run == run.Id {
				entry, err := catalog.TrialOf(added, next+uint32(i), trial)
				ok(p.tb, err)
				entries = append(entries[:len(entries):len(entries)], entry)
			}
		}
	}
	g.after, err = newCatalog(listed.Name, nil, append(all, g.added...), entries)
	ok(p.tb, err)
	ok(p.tb, c.reopen(listed))
	listed.Settled = false
	ok(p.tb, c.grow(listed, g))
}

// over ends the time of a study's budget.
func (p *pair) over(t *rapid.T) {
	name := rapid.SampledFrom(append(p.names(), "none")).Draw(t, "study")
	study, err := p.listed.Snapshot().Study(nil, name)
	created := uint64(0)
	if err == nil {
		created = study.CreateIndex
	}
	p.both("end the time", func(s *Store) error { return s.EndTimeBudget(p.index, at(p.index), name, created) })
}
