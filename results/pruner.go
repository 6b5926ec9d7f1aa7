package results

import (
	"cmp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// pruner prunes one study in one change.
type pruner struct {
	change  *change
	study   *trellisv1.Study
	rule    pruning.Rule
	catalog *catalog.Catalog
	// rungs are those that have been looked at, in that order.
	rungs []*rungEdit
	// runs are those that the change has changed, by id, and inOrder the same, as they have been found.
	runs    map[string]*prunedRun
	inOrder []*prunedRun
	// ranked says that the rungs have been made anew in this change.
	ranked bool
}

// rungEdit is a rung before the change, when its best were last taken up, and now.
type rungEdit struct {
	epoch                uint32
	before, taken, after *pruning.Standings
}

// prunedRun is a run that the change has changed.
type prunedRun struct {
	handle
	// was is the run before the change, nil if it is new.
	was *trellisv1.Run
	// counted is the epoch up to which it counts at rungs by now, and judged the rung at which it was judged last.
	counted, judged uint32
}

// follow does what follows from what a command has changed: runs learn from their twins, and in studies that prune they
// are held and taken up again. What has been taken up may have more to learn.
func (c *change) follow() error {
	for again := true; again; {
		err := c.share()
		if err == nil {
			again, err = c.prune()
		}
		if err != nil {
			return err
		}
	}
	for _, p := range c.pruners {
		if err := p.store(); err != nil {
			return err
		}
	}
	return nil
}

// prune does in every study that prunes what follows from the change so far: runs that have come to rungs count there,
// those that are among the best of a rung now are taken up again, and those that would go on from a rung, and are not,
// are held. A study does not end while the best of its runs is held. It says whether it has taken up any run.
func (c *change) prune() (again bool, err error) {
	if err := c.findPruned(); err != nil {
		return false, err
	}
	for _, p := range c.pruners {
		if err := p.rankAgain(); err != nil {
			return false, err
		}
		if p.study.State == lifecycle.StudyCanceled {
			continue
		}
		if err := p.arrive(); err != nil {
			return false, err
		}
		takenUp, err := p.takeUp()
		if err != nil {
			return false, err
		}
		if err := p.hold(); err != nil {
			return false, err
		}
		if !takenUp {
			if takenUp, err = p.keepBest(); err != nil {
				return false, err
			}
		}
		again = again || takenUp
	}
	return again, nil
}

// findPruned finds the changed runs of studies that prune, unless these are canceled and none of their runs is taken
// back.
func (c *change) findPruned() error {
	for _, edit := range c.sections.inOrder {
		if edit.after == nil {
			continue
		}
		p, err := c.prunerOf(edit.after.study)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		for slot, member := range edit.after.members {
			if !edit.changed(slot) || p.runs[member.Run.Id] != nil {
				continue
			}
			stored := edit.stored(slot)
			found := &prunedRun{handle: handle{edit, slot}}
			if stored != nil {
				found.was, found.counted = stored.Run, pruning.CameTo(stored.Run)
			}
			p.runs[member.Run.Id] = found
			p.inOrder = append(p.inOrder, found)
		}
	}
	return nil
}

// prunerOf returns the pruner of a study, nil if it does not prune.
func (c *change) prunerOf(name string) (*pruner, error) {
	if p, known := c.prunes[name]; known {
		return p, nil
	}
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return nil, err
	}
	r := pruning.Of(study.Spec)
	if r == nil || study.State == lifecycle.StudyCanceled && !c.takenBack[name] {
		c.prunes[name] = nil
		return nil, nil
	}
	catalog, err := c.sections.catalog(name)
	if err != nil {
		return nil, err
	}
	p := &pruner{change: c, study: study, rule: r, catalog: catalog, runs: map[string]*prunedRun{}}
	c.prunes[name], c.pruners = p, append(c.pruners, p)
	return p, nil
}

// rung returns the rung at an epoch.
func (p *pruner) rung(epoch uint32) (*rungEdit, error) {
	for _, rung := range p.rungs {
		if rung.epoch == epoch {
			return rung, nil
		}
	}
	stored, err := first[*rung](p.change.reader, nil, tableRungs, indexID, rungKey(p.study.Name, epoch))
	if err != nil {
		return nil, err
	}
	edit := &rungEdit{epoch: epoch}
	if stored != nil {
		edit.before, edit.taken, edit.after = stored.results, stored.results, stored.results
	}
	p.rungs = append(p.rungs, edit)
	return edit, nil
}

// rankAgain makes the rungs anew if runs of the study have been taken back. Those that were held for what was wrong may
// be among the best now.
func (p *pruner) rankAgain() error {
	if !p.change.takenBack[p.study.Name] || p.ranked {
		return nil
	}
	p.ranked = true
	members, err := p.change.sections.members(p.catalog)
	if err != nil {
		return err
	}
	p.rungs = nil
	for _, now := range newRungs(p.rule, p.study.Name, members) {
		edit, err := p.rung(now.epoch)
		if err != nil {
			return err
		}
		edit.taken, edit.after = nil, now.results
	}
	stored, err := all[*rung](p.change.reader, nil, tableRungs, indexID, textKey(p.study.Name))
	if err != nil {
		return err
	}
	known := len(p.rungs)
	for _, before := range stored {
		if !slices.ContainsFunc(p.rungs[:known], func(r *rungEdit) bool { return r.epoch == before.epoch }) {
			p.rungs = append(p.rungs, &rungEdit{epoch: before.epoch, before: before.results})
		}
	}
	for _, run := range p.inOrder {
		run.counted = pruning.CameTo(run.run())
	}
	return nil
}

// arrive counts the changed runs at the rungs that they have come to.
func (p *pruner) arrive() error {
	for _, run := range p.inOrder {
		to := pruning.CameTo(run.run())
		for epoch := p.rule.Next(run.counted); epoch <= uint64(to); epoch = p.rule.Next(uint32(epoch)) {
			rung, err := p.rung(uint32(epoch))
			if err != nil {
				return err
			}
			its := run.member()
			standing := pruning.StandingOf(p.rule, its.Run, its.ReachedAt(rung.epoch))
			rung.after = rung.after.With(standing)
		}
		run.counted = max(run.counted, to)
	}
	return nil
}

// takeUp takes up again the runs that are held at a rung and are among its best now. None of the best was held before:
// those that have not been among them come after all that have, so that they are looked for among the last.
func (p *pruner) takeUp() (takenUp bool, err error) {
	for _, rung := range p.rungs {
		for place := p.rule.Best(rung.taken.Size()); place < p.rule.Best(rung.after.Size()); place++ {
			h, ended, err := p.standing(rung.after.At(place))
			if err != nil {
				return false, err
			}
			if !ended && h.run().State == lifecycle.RunPruned && pruning.RungOf(p.rule, h.run()) == rung.epoch {
				h.endAttempt(lifecycle.Promote)
				takenUp = true
			}
		}
		rung.taken = rung.after
	}
	return takenUp, nil
}

// standing returns the run that a standing is of, unless it has ended and is sealed: after the rungs have been made
// anew, all of their best are looked at. By its id, a run that follows from the spec would be looked for for long.
func (p *pruner) standing(its pruning.Standing) (h handle, ended bool, err error) {
	place, _, ok := p.catalog.Trial(its.FirstTrial)
	if !ok || p.catalog.Lists(its.Run) {
		h, err = p.change.sections.find(p.study.Name, its.Run)
		return h, false, err
	}
	if ended, err = p.change.sections.isSealed(p.catalog, place); err != nil || ended {
		return handle{}, ended, err
	}
	h, err = p.change.sections.at(p.catalog, place)
	return h, false, err
}

// hold judges the changed runs that wait at a rung to go on, once each: those that have come there in this change, and
// those that have ended an attempt there, or are PENDING again for another reason.
func (p *pruner) hold() error {
	if pruning.Stops(p.study.Spec) {
		return p.stop()
	}
	for _, run := range p.inOrder {
		now, rung := run.run(), pruning.RungOf(p.rule, run.run())
		if now.State != lifecycle.RunPending || now.Spared || now.Dispute != nil {
			continue
		}
		if rung == 0 || run.judged == rung || !run.waitsAt(rung) {
			continue
		}
		at, err := p.rung(rung)
		if err != nil {
			return err
		}
		run.judged = rung
		if !pruning.GoesOn(p.rule, now, run.member().ReachedAt(rung), at.after) {
			run.endAttempt(lifecycle.Hold)
		}
	}
	return nil
}

// stop judges the changed runs that have come to rungs in this change, and ends those that don't go on: see
// pruning.Stops. A run that begins again is judged again only where it reports what was not recorded.
func (p *pruner) stop() error {
	for _, run := range p.inOrder {
		now := run.run()
		if lifecycle.RunEnded(now.State) || now.Spared || now.Dispute != nil {
			continue
		}
		after := run.judged
		if run.was != nil {
			after = max(after, pruning.CameTo(run.was))
		}
		last := pruning.RungOf(p.rule, now)
		for epoch := p.rule.Next(after); epoch <= uint64(last); epoch = p.rule.Next(uint32(epoch)) {
			at, err := p.rung(uint32(epoch))
			if err != nil {
				return err
			}
			run.judged = at.epoch
			if pruning.GoesOn(p.rule, now, run.member().ReachedAt(at.epoch), at.after) {
				continue
			}
			if auditing.Held(now) {
				run.endAttempt(lifecycle.Release)
			}
			run.endAttempt(lifecycle.Hold)
			break
		}
	}
	return nil
}

// waitsAt says whether the run, which is PENDING, is at a rung where it has not been judged before the change.
func (r *prunedRun) waitsAt(rung uint32) bool {
	if r.was == nil || pruning.CameTo(r.was) < rung {
		return true
	}
	return r.was.State != lifecycle.RunPending && r.was.State != lifecycle.RunPruned && r.run().Epochs == rung
}

// keepBest takes up the best of the study's runs again if it is held and nothing else is left to do. One that has
// failed does not keep others from being the best: it has no answer to give.
func (p *pruner) keepBest() (kept bool, err error) {
	// Where runs are stopped as they train, the best at a rung always goes on.
	if !p.allEnded() || pruning.Stops(p.study.Spec) {
		return false, nil
	}
	if before, err := p.endedBefore(); err != nil || before {
		return false, err
	}
	var best handle
	runs, err := p.change.sections.unsealed(p.catalog)
	if err != nil {
		return false, err
	}
	for _, h := range runs {
		if h.run().State == lifecycle.RunFailed {
			continue
		}
		if best.sectionEdit == nil || p.compareBest(h.run(), best.run()) < 0 {
			best = h
		}
	}

	// If no run has an objective that is worth anything, none is the best.
	if best.sectionEdit == nil || best.run().State != lifecycle.RunPruned ||
		!listing.Finite(trajectory.BestOf(best.run())) {
		return false, nil
	}
	if better, err := p.sealedBetter(best.run()); err != nil || better {
		return false, err
	}
	best.endAttempt(lifecycle.Promote)
	return true, nil
}

// endedBefore says whether all runs had ended before the change, and are what they were as far as the best is
// concerned: it is not held then. Audits change runs of a study that has ended, a few at a time.
func (p *pruner) endedBefore() (bool, error) {
	before, err := first[*trellisv1.Study](p.change.reader, nil, tableStudies, indexID, textKey(p.study.Name))
	if err != nil || before == nil || trajectory.OpenRuns(before.Progress) > 0 || p.ranked {
		return false, err
	}
	ranking := listing.RankingOf(p.study.Spec)
	for _, run := range p.inOrder {
		if now := run.run(); run.was == nil || run.was.State != now.State ||
			ranking.CompareObjectives(trajectory.BestOf(run.was), trajectory.BestOf(now)) != 0 {
			return false, nil
		}
	}
	return true, nil
}

// sealedBetter says whether a run that is sealed, and stays so in the change, ranks before a held one. It reads one
// after the other: all together would take the memory of a store without sealed sections.
func (p *pruner) sealedBetter(held *trellisv1.Run) (bool, error) {
	sections, err := p.change.sectionsOf(p.study.Name)
	if err != nil {
		return false, err
	}
	for section := range sections {
		if section.sealed == nil || p.change.sections.byPlace[sectionPlace{section.study, section.number}] != nil {
			continue
		}
		for slot := range section.size() {
			if p.compareBest(section.run(p.catalog, slot), held) < 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// compareBest ranks runs by their objectives, equal ones as they stand in the grid.
func (p *pruner) compareBest(a, b *trellisv1.Run) int {
	ranking := listing.RankingOf(p.study.Spec)
	return cmp.Or(ranking.CompareObjectives(trajectory.BestOf(a), trajectory.BestOf(b)),
		cmp.Compare(a.FirstTrial, b.FirstTrial))
}

// allEnded says whether all runs of the study have ended by now. The books say how it was before the change.
func (p *pruner) allEnded() bool {
	open := int(trajectory.OpenRuns(p.study.Progress))
	for _, run := range p.inOrder {
		if run.was != nil {
			open -= openRun(run.was)
		}
		open += openRun(run.run())
	}
	return open == 0
}

// openRun is 1 for a run that has not ended.
func openRun(run *trellisv1.Run) int {
	if lifecycle.RunEnded(run.State) {
		return 0
	}
	return 1
}

// store stores the rungs that have changed.
func (p *pruner) store() error {
	for _, edit := range p.rungs {
		if edit.after == edit.before {
			continue
		}
		if edit.after == nil {
			if err := remove(p.change.txn, tableRungs, &rung{p.study.Name, edit.epoch, nil}); err != nil {
				return err
			}
			continue
		}
		if err := insert(p.change.txn, tableRungs, &rung{p.study.Name, edit.epoch, edit.after}); err != nil {
			return err
		}
	}
	return nil
}
