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
			its := &sealed{}
			for slot, member := range stored.all(c) {
				run, losses := proto.CloneOf(member.Run), proto.CloneOf(member.Losses)
				run.Study, run.Id, run.Parameters, run.FirstTrial, run.Place = "", "", nil, 0, 0
				losses.Study, losses.Run = "", ""
				messages := []proto.Message{run, losses}
				if slot == 0 {
					for _, trial := range spoil(run, losses) {
						messages = append(messages, trial)
					}
				}
				for _, message := range messages {
					data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
					ok(t, err)
					its.data = protowire.AppendBytes(its.data, data)
				}
				its.ends = append(its.ends, uint32(len(its.data)))
			}
			var payloads [][]byte
			rows := uint64(0)
			for _, block := range blocksOf(t, written(t, store)) {
				part := block[snapshotfile.HeadSize:]
				if bytes.HasPrefix(part, append([]byte{6}, "sealed"...)) {
					part = payload("sealed", &trellisv1.SealedSection{
						Study: "s", Data: its.data, Ends: its.ends, Changed: stored.changed,
					})
				}
				if part[0] > 0 {
					payloads, rows = append(payloads, part), rows+countRows(part)
				}
			}
			data := bytes.NewReader(forged(append(payloads, endMark(rows))...))
			switch err := newStore(t).Restore(data); {
			case name == "nothing" && err != nil:
				t.Error(err)
			case name != "nothing" && !errors.Is(err, ErrCorrupt):
				t.Errorf("error %v, want that it is corrupt", err)
			}
		})
	}
}

// TestRestoreRefusesUntouchedMoves: runs without rows are PENDING, FAILED or CANCELED.
func TestRestoreRefusesUntouchedMoves(t *testing.T) {
	store := sealedStore(t)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	for _, state := range []trellisv1.TrialState{lifecycle.TrialRunning, lifecycle.TrialPruned, lifecycle.TrialSucceeded} {
		forged := copyStudy(study)
		forged.Untouched = &trellisv1.Untouched{State: state}
		txn := store.tables.Load().db.Txn(true)
		ok(t, insert(txn, tableStudies, forged))
		txn.Commit()
		if err := newStore(t).Restore(bytes.NewReader(written(t, store))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: error %v, want that it is corrupt", state, err)
		}
	}
}

// sealedStore has a study s of two runs of two trials, which are sealed, and have been lengthened before.
func sealedStore(t testing.TB) *Store {
	store := newStore(t)
	spec := grid.WithDefaults(&trellisv1.StudySpec{Name: "s", Model: "synthetic", Grid: []*trellisv1.Grid{{
		Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(1, 2), "max_epochs": trellisv1.AxisOf(2, 4), "learning_rate": trellisv1.AxisOf(3),
			"weight_decay": trellisv1.AxisOf(0), "batch_size": trellisv1.AxisOf(64),
		},
	}}})
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
