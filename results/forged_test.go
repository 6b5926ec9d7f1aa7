package results

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

// TestRestoreRefusesForgedSections: sealed runs that contradict the study's spec or themselves are refused when they are
// read, as nobody checks them afterwards.
func TestRestoreRefusesForgedSections(t *testing.T) {
	for name, spoil := range map[string]func(*trellisv1.Run, *trellisv1.Losses) []*trellisv1.Trial{
		"nothing": func(*trellisv1.Run, *trellisv1.Losses) []*trellisv1.Trial { return nil },
		"other milestones": func(r *trellisv1.Run, _ *trellisv1.Losses) []*trellisv1.Trial {
			r.Milestones[0] = 1
			return nil
		},
		"descending": func(r *trellisv1.Run, _ *trellisv1.Losses) []*trellisv1.Trial {
			r.Milestones[0], r.Milestones[1] = r.Milestones[1], r.Milestones[0]
			return nil
		},
		"a late best epoch": func(r *trellisv1.Run, _ *trellisv1.Losses) []*trellisv1.Trial {
			r.BestEpoch = 9
			return nil
		},
		"a late checkpoint": func(r *trellisv1.Run, _ *trellisv1.Losses) []*trellisv1.Trial {
			r.Checkpoints = []*trellisv1.Checkpoint{{Epoch: 9}}
			return nil
		},
		"short losses": func(_ *trellisv1.Run, l *trellisv1.Losses) []*trellisv1.Trial {
			l.ValidationLoss = l.ValidationLoss[:1]
			return nil
		},
		"short metrics": func(_ *trellisv1.Run, l *trellisv1.Losses) []*trellisv1.Trial {
			l.Metrics = map[string]*trellisv1.Series{"validation_accuracy": {Values: []float64{1}}}
			return nil
		},
		"many times": func(_ *trellisv1.Run, l *trellisv1.Losses) []*trellisv1.Trial {
			l.Seconds = make([]float32, 9)
			return nil
		},
		"trials of others": func(r *trellisv1.Run, _ *trellisv1.Losses) []*trellisv1.Trial {
			var trials []*trellisv1.Trial
			for range r.Milestones {
				trials = append(trials, &trellisv1.Trial{Index: 77, State: lifecycle.TrialSucceeded, Epochs: 2})
			}
			return trials
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := sealedStore(t)
			c, err := store.Snapshot().catalog("s")
			ok(t, err)
			stored, err := first[*section](store.Snapshot().reader, nil, tableSections, indexID, sectionKey("s", 0))
			ok(t, err)
			var members []*trajectory.Trajectory
			for slot, member := range stored.all(c) {
				its := &trajectory.Trajectory{
					Run: proto.CloneOf(member.Run), Losses: proto.CloneOf(member.Losses), Terms: member.Terms,
				}
				if slot == 0 {
					its.Answers = spoil(its.Run, its.Losses)
				}
				members = append(members, its)
			}
			its, err := trajectory.Seal(members, func(slot int) []uint64 { return c.IndexesAt(uint32(slot)) })
			ok(t, err)
			row := &trellisv1.SealedSection{Study: "s", Changed: stored.changed}
			its.SetIn(row)
			switch err := restoreWith(t, store, row); {
			case name == "nothing" && err != nil:
				t.Error(err)
			case name != "nothing" && !errors.Is(err, ErrCorrupt):
				t.Errorf("error %v, want that it is corrupt", err)
			}
		})
	}
}

// restoreWith restores what a store of one sealed section has written, with another row of that section.
func restoreWith(t *testing.T, store *Store, row *trellisv1.SealedSection) error {
	t.Helper()
	var payloads [][]byte
	rows := uint64(0)
	for _, block := range blocksOf(t, written(t, store)) {
		part := block[snapshotfile.HeadSize:]
		if bytes.HasPrefix(part, append([]byte{6}, "sealed"...)) {
			part = payload("sealed", row)
		}
		if part[0] > 0 {
			payloads, rows = append(payloads, part), rows+countRows(part)
		}
	}
	return newStore(t).Restore(bytes.NewReader(forged(append(payloads, endMark(rows))...)))
}

// TestRestoreRefusesForgedRows: what is read of a sealed section without opening its runs agrees with them.
func TestRestoreRefusesForgedRows(t *testing.T) {
	for name, spoil := range map[string]func(*trellisv1.SealedSection){
		"nothing":     func(*trellisv1.SealedSection) {},
		"no change":   func(row *trellisv1.SealedSection) { row.Changed = 0 },
		"a change":    func(row *trellisv1.SealedSection) { row.Changed++ },
		"part of one": func(row *trellisv1.SealedSection) { row.Changed-- },
		// As a message, the frame is the same, but not as what Sealed.Span reads.
		"unpacked milestones": func(row *trellisv1.SealedSection) {
			for i, frame := range row.Frames {
				run, n := protowire.ConsumeBytes(frame)
				packed := []byte{4<<3 | byte(protowire.BytesType), 3, 2, 4, 5}
				if n < 0 || !bytes.Contains(run, packed) {
					t.Fatalf("% x has no milestones 2, 4 and 5", frame)
				}
				const tag = 4<<3 | byte(protowire.VarintType)
				run = bytes.Replace(run, packed, []byte{tag, 2, tag, 4, tag, 5}, 1)
				row.Frames[i] = append(protowire.AppendBytes(nil, run), frame[n:]...)
			}
		},
	} {
		store := sealedStore(t)
		stored, err := first[*section](store.Snapshot().reader, nil, tableSections, indexID, sectionKey("s", 0))
		ok(t, err)
		row := &trellisv1.SealedSection{Study: "s", Changed: stored.changed}
		stored.sealed.SetIn(row)
		spoil(row)
		switch err := restoreWith(t, store, row); {
		case name == "nothing" && err != nil:
			t.Error(err)
		case name != "nothing" && !errors.Is(err, ErrCorrupt):
			t.Errorf("%s: error %v, want that it is corrupt", name, err)
		}
	}
}

// TestRestoreRefusesUntouchedMoves: runs without rows are PENDING, FAILED or CANCELED.
func TestRestoreRefusesUntouchedMoves(t *testing.T) {
	store := sealedStore(t)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	for _, state := range []trellisv1.TrialState{lifecycle.TrialRunning, lifecycle.TrialPruned, lifecycle.TrialSucceeded} {
		forged := CopyStudy(study)
		forged.Untouched = &trellisv1.Untouched{State: state}
		txn := store.tables.Load().db.Txn(true)
		ok(t, insert(txn, tableStudies, forged))
		txn.Commit()
		if err := newStore(t).Restore(bytes.NewReader(written(t, store))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: error %v, want that it is corrupt", state, err)
		}
	}
}

// TestRestoreRefusesForgedSpecs: what would have more runs than a study may have, or more values than can be read, is
// refused before it is.
func TestRestoreRefusesForgedSpecs(t *testing.T) {
	store := sealedStore(t)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	numbers := func(n uint32) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: float64(n), Count: n}}
	}
	steps := &trellisv1.Axis{Step: &trellisv1.Step{From: 1, To: 2_000_000, By: 1}}
	for name, test := range map[string]struct {
		budget *trellisv1.Budget
		axes   map[string]*trellisv1.Axis
	}{
		"no budget":      {nil, map[string]*trellisv1.Axis{"latent_dim": numbers(1 << 16), "weight_decay": numbers(1 << 17)}},
		"a huge budget":  {&trellisv1.Budget{Trials: 1 << 40}, map[string]*trellisv1.Axis{"latent_dim": numbers(2_000_000)}},
		"a long range":   {&trellisv1.Budget{Trials: 2}, map[string]*trellisv1.Axis{"latent_dim": numbers(2_000_000)}},
		"many steps":     {&trellisv1.Budget{Epochs: 8}, map[string]*trellisv1.Axis{"learning_rate": steps}},
		"many runs long": {&trellisv1.Budget{Epochs: 8}, map[string]*trellisv1.Axis{"max_epochs": numbers(2_000_000)}},
	} {
		forged := CopyStudy(study)
		forged.SpecHistory, forged.EarlierSpecs, forged.Spec = nil, nil, proto.CloneOf(study.Spec)
		forged.Spec.Budget = test.budget
		for axis, values := range test.axes {
			forged.Spec.Grid[0].Axes[axis] = values
		}
		if _, err := newBase(forged); err == nil {
			t.Errorf("%s: a base of that", name)
		}
		txn := store.tables.Load().db.Txn(true)
		ok(t, insert(txn, tableStudies, forged))
		txn.Commit()
		if err := newStore(t).Restore(bytes.NewReader(written(t, store))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error %v, want that it is corrupt", name, err)
		}
	}
}

// TestRestoreRefusesForgedRuns: a run that follows from the spec is that of its place.
func TestRestoreRefusesForgedRuns(t *testing.T) {
	for name, spoil := range map[string]func(*trellisv1.Run){
		"nothing":           func(*trellisv1.Run) {},
		"another id":        func(r *trellisv1.Run) { r.Id = "00" + r.Id[2:] },
		"other milestones":  func(r *trellisv1.Run) { r.Milestones = []uint32{1, 4} },
		"descending":        func(r *trellisv1.Run) { r.Milestones = []uint32{4, 2} },
		"another trial":     func(r *trellisv1.Run) { r.FirstTrial++ },
		"fewer epochs":      func(r *trellisv1.Run) { r.Parameters.MaxEpochs = 3 },
		"no milestones":     func(r *trellisv1.Run) { r.Milestones = nil },
		"a milestone later": func(r *trellisv1.Run) { r.Milestones = append(r.Milestones, 9) },
	} {
		store := newStore(t)
		ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s", Spec: sealedSpec(), Numerics: "1"}))
		ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
			Name: "w", State: lifecycle.WorkerReady, Slots: 2,
		}))
		next, err := store.Snapshot().NextRuns(nil, 1)
		ok(t, err)
		grant1(t, store, 3, "s", next[0].Id, "w")
		stored, err := first[*section](store.Snapshot().reader, nil, tableSections, indexID, sectionKey("s", 0))
		ok(t, err)
		for slot, member := range stored.members {
			if member != nil {
				forged := *member
				forged.Run = proto.CloneOf(member.Run)
				spoil(forged.Run)
				stored.members[slot] = &forged
			}
		}
		switch err := newStore(t).Restore(bytes.NewReader(written(t, store))); {
		case name == "nothing" && err != nil:
			t.Error(err)
		case name != "nothing" && !errors.Is(err, ErrCorrupt):
			t.Errorf("%s: error %v, want that it is corrupt", name, err)
		}
	}
}

// sealedSpec has two runs of two trials.
func sealedSpec() *trellisv1.StudySpec {
	return grid.WithDefaults(&trellisv1.StudySpec{Name: "s", Model: "synthetic", Grid: []*trellisv1.Grid{{
		Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(1, 2), "max_epochs": trellisv1.AxisOf(2, 4), "learning_rate": trellisv1.AxisOf(3),
			"weight_decay": trellisv1.AxisOf(0), "batch_size": trellisv1.AxisOf(64),
		},
	}}})
}

// sealedStore has a study s of two runs of two trials, which are sealed, and have been lengthened before.
func sealedStore(t testing.TB) *Store {
	store := newStore(t)
	spec := sealedSpec()
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: lifecycle.WorkerReady, Slots: 2,
	}))
	ok(t, store.CreateStudy(2, at(2), &trellisv1.Study{Name: "s", Spec: spec, Numerics: "1"}))
	longer := proto.CloneOf(spec)
	longer.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(2, 4, 5)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	trials, runs, next, err := grid.ExpandExtension(study, &trellisv1.ExtendStudyCommand{
		Study: "s", Indices: study.Indices, Spec: longer,
	})
	ok(t, err)
	_, err = store.ExtendStudy(3, at(3), "s", Extension{
		Indices: study.Indices, NextIndices: next, Spec: longer, Runs: runs, Trials: trials,
	})
	ok(t, err)
	waiting, err := store.Snapshot().NextRuns(nil, 2)
	ok(t, err)
	for i, run := range waiting {
		index, losses := 4+2*uint64(i), []float64{5, 4, 3, 2, 1}
		attempt := grant1(t, store, index, "s", run.Id, "w")
		record(t, store, index+1, columnEntry("s", run.Id, attempt, 1, losses, losses, nil),
			stageEntry("s", run.Id, attempt, 5))
	}
	return store
}
