package results

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/hook"
	"trellis/results/lifecycle"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

func written(t testing.TB, store *Store) []byte {
	t.Helper()
	var data bytes.Buffer
	n, err := store.Snapshot().WriteTo(&data)
	ok(t, err)
	if int(n) != data.Len() {
		t.Fatalf("it says that it wrote %d bytes, of %d", n, data.Len())
	}
	return data.Bytes()
}

// newFullStore has a row of every kind in every table.
func newFullStore(t testing.TB) *Store {
	store := newListStore(t)
	record(t, store, 20, checkpointEntry("s", "running", AttemptNumber(6, 0), 1, digest("a")))
	ok(t, store.SetWorker(21, at(21), trajectory.LatestRules, &trellisv1.Worker{
		Name: "v", State: lifecycle.WorkerDraining, Slots: 2,
		Version: "1", Processor: "p",
	}))
	run, trials := testRun("x", 16, 0, 2)
	study := &trellisv1.Study{
		Name: "t", Spec: &trellisv1.StudySpec{Name: "t", Model: "synthetic"}, DataSet: &trellisv1.DataSet{
			Name:    "d",
			Digest:  digest("d"),
			Classes: new(uint32(3)),
		},
		Pretrained: &trellisv1.Source{
			Study: "s", Trial: 1, Run: "running", Model: "m", Sha256: digest("a"),
			Size: 1001,
		},
		Creator: ann,
	}
	ok(t, store.CreateListed(22, at(22), study, []*trellisv1.Run{run}, trials))
	ok(t, store.CreateListed(23, at(23), &trellisv1.Study{Name: "u", Fresh: true}, []*trellisv1.Run{run}, trials))
	pruned := &trellisv1.Study{Name: "v", Spec: &trellisv1.StudySpec{Name: "v", Pruning: ashaOf(1, 2)}}
	run, trials = testRun("x", 16, 0, 2)
	ok(t, store.CreateListed(24, at(24), pruned, []*trellisv1.Run{run}, trials))
	attempt := grant1(t, store, 25, "v", "x", "w")
	reports := columnEntry("v", "x", attempt, 1, []float64{1}, []float64{1}, map[uint32]float64{1: 2})
	reports.GetReports().Metrics = map[string]*trellisv1.Series{
		"train_accuracy": {Values: []float64{0.5}}, "validation_accuracy": {Values: []float64{0.25}},
	}
	reports.GetReports().TestMetrics = map[uint32]*trellisv1.Metrics{1: {Values: map[string]float64{"accuracy": 0.75}}}
	record(t, store, 26, reports)
	record(t, store, 27, missingEntry("v", "x", attempt, 1, "no room"))
	addAccess(t, store)
	run, trials = testRun("audited", 32, 0, 2)
	audited := &trellisv1.Study{Name: "z", Spec: &trellisv1.StudySpec{Name: "z", Audit: 1}}
	ok(t, store.CreateListed(28, at(28), audited, []*trellisv1.Run{run}, trials))
	attempt = grant1(t, store, 29, "z", "audited", "w")
	record(t, store, 30, columnEntry("z", "audited", attempt, 1, []float64{1, 2}, []float64{1, 2}, nil),
		successEntry("z", "audited", attempt, 2))
	addIndexed(t, store)
	for i, name := range []string{"h", "i"} {
		storeHook(t, store, 50+uint64(i), newHook(name, ""))
		ok(t, store.PutPaper(54+uint64(i), at(54), newPaper(name, digestOf("f"))))
	}
	for i, state := range []trellisv1.WorkerState{lifecycle.WorkerReady, lifecycle.WorkerLost} {
		ok(t, store.SetWorker(52+uint64(i), at(52), trajectory.LatestRules,
			&trellisv1.Worker{Name: "x", State: state, Slots: 1}))
	}
	return store
}

// addIndexed adds a study whose runs follow from its spec: 70 of them, of which two are touched, one is lengthened and one has
// a listed one beside it.
func addIndexed(t testing.TB, store *Store) {
	spec := grid.WithDefaults(&trellisv1.StudySpec{Name: "y", Model: "synthetic", Grid: []*trellisv1.Grid{{
		Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), "max_epochs": trellisv1.AxisOf(1, 2),
			"learning_rate": trellisv1.AxisOf(1, 2, 3, 4, 5, 6, 7), "weight_decay": trellisv1.AxisOf(0),
			"batch_size": trellisv1.AxisOf(64),
		},
	}}})
	ok(t, store.CreateStudy(31, at(31), &trellisv1.Study{Name: "y", Spec: spec, Numerics: "1"}))
	sealed := grid.WithDefaults(&trellisv1.StudySpec{Name: "x", Model: "synthetic", Grid: []*trellisv1.Grid{{
		Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(1, 2), "max_epochs": trellisv1.AxisOf(1, 2), "learning_rate": trellisv1.AxisOf(3),
			"weight_decay": trellisv1.AxisOf(0), "batch_size": trellisv1.AxisOf(64),
		},
	}}})
	ok(t, store.CreateStudy(35, at(35), &trellisv1.Study{Name: "x", Spec: sealed, Numerics: "1"}))
	for place := range uint32(2) {
		c, err := store.Snapshot().catalog("x")
		ok(t, err)
		run, index := c.Untouched(place).Run, 36+2*uint64(place)
		ok(t, store.Grant(index, at(index), []*trellisv1.Grant{{Study: "x", Run: run.Id, Worker: "w", Place: &place}})[0])
		attempt := AttemptNumber(index, 0)
		losses := []float64{2, 1 + float64(place)}
		record(t, store, index+1, columnEntry("x", run.Id, attempt, 1, losses, losses, map[uint32]float64{2: 3}),
			stageEntry("x", run.Id, attempt, 2))
	}
	at32 := at(32)
	for i, place := range []uint32{0, 68} {
		c, err := store.Snapshot().catalog("y")
		ok(t, err)
		run := c.Untouched(place).Run
		ok(t, store.Grant(32+uint64(i), at32, []*trellisv1.Grant{{Study: "y", Run: run.Id, Worker: "w", Place: &place}})[0])
	}
	study, err := store.Snapshot().Study(nil, "y")
	ok(t, err)
	point := func(epochs, seed uint32) *trellisv1.Parameters {
		return &trellisv1.Parameters{MaxEpochs: epochs, Seed: seed, Values: trellisv1.ValuesOf(map[string]any{
			"latent_dim": 3, "learning_rate": 4, "weight_decay": 0, "batch_size": 64,
		})}
	}
	trials, runs, next, err := grid.ExpandExtension(study, &trellisv1.ExtendStudyCommand{
		Study: "y", Indices: study.Indices, Points: []*trellisv1.Parameters{point(5, 1), point(1, 2)},
	})
	ok(t, err)
	_, err = store.ExtendStudy(34, at(34), "y", Extension{
		Indices: study.Indices, NextIndices: next, Runs: runs, Trials: trials,
	})
	ok(t, err)
}

// TestSnapshotHasEveryTable: a table that is left out is lost at the first compaction of the log.
func TestSnapshotHasEveryTable(t *testing.T) {
	store := newFullStore(t)
	restored := newStore(t)
	ok(t, restored.Restore(bytes.NewReader(written(t, store))))
	want, got := tableTexts(t, store.Snapshot()), tableTexts(t, restored.Snapshot())
	for name := range newSchema().Tables {
		if len(want[name]) == 0 {
			t.Errorf("table %s has no rows here: give it some in newFullStore", name)
		}
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("table %s:\n got %q\nwant %q", name, got[name], want[name])
		}
	}
	if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
		t.Error("the restored store has another hash")
	}
	checkIndexes(t, restored.Snapshot())
}

// TestSnapshotHasEveryField of every row: what is set is there again after it has been restored and written.
func TestSnapshotHasEveryField(t *testing.T) {
	var payloads [][]byte
	for _, content := range contents {
		row := content.row()
		switch row.(type) {
		case *trellisv1.SealedSection:
			continue // It follows from a spec: see TestIndexedStudies.
		}
		fill(row.ProtoReflect(), 3)
		// What rows say of one another must be true.
		switch row := row.(type) {
		case *trellisv1.Study:
			row.Name, row.State, row.Indices = "s", lifecycle.StudyRunning, 2
			// Its runs would have to follow from its spec: see TestIndexedStudies.
			row.Indexed, row.Untouched = false, nil
			row.Progress = &trellisv1.Progress{
				Trials: 1, TrialsSucceeded: 1, Runs: 1, RunsRunning: 1, Epochs: 1, TrainingSeconds: 1,
				EpochsAlone: 1, EpochsShared: 1, SecondsShared: 1, RunsDisputed: 1,
			}
		case *trellisv1.Run:
			row.Study, row.Id, row.Epochs, row.Milestones, row.Parameters.MaxEpochs = "s", "r", 1, []uint32{1}, 1
			row.State, row.Worker = lifecycle.RunLeased, "w"
			row.Checkpoints[0].Epoch, row.MissingWeights[0].Epoch, row.Dispute.Epoch = 1, 1, 1
		case *trellisv1.Trial:
			row.Study, row.Run, row.Parameters.MaxEpochs, row.State = "s", "r", 1, lifecycle.TrialSucceeded
			row.Epochs = 1
		case *trellisv1.Losses:
			row.Study, row.Run, row.Epochs = "s", "r", 1
			row.Metrics = map[string]*trellisv1.Series{"m": {Values: []float64{0}, Missing: []uint32{0}}}
		case *trellisv1.Worker:
			row.Name, row.State, row.Runs = "w", lifecycle.WorkerReady, 1
		case *trellisv1.Hook:
			row.Name, row.Events, row.Created, row.Done = "h", hook.Types, 1, 0
		case *trellisv1.Delivery:
			row.Hook, row.Number = "h", 1
		case *trellisv1.PaperReport:
			row.Name = "p"
			row.Stages[0].Study, row.Sections = "s", newPaper("p", digestOf("0")).Sections
		}
		payloads = append(payloads, payload(content.name, row))
	}
	data := forged(append(payloads, endMark(uint64(len(payloads))))...)
	store := newStore(t)
	ok(t, store.Restore(bytes.NewReader(data)))
	if got := written(t, store); !bytes.Equal(got, data) {
		t.Errorf("what is restored is written as\n%q, not\n%q", got, data)
	}
	checkIndexes(t, store.Snapshot())
}

// TestSnapshotManyBlocks: tables of many blocks, and what rows of a study have in common is shared again.
func TestSnapshotManyBlocks(t *testing.T) {
	store := newStore(t)
	loadStudy(t, store, "s", 3000, 4)
	data := written(t, store)
	restored := newStore(t)
	ok(t, restored.Restore(iotest.HalfReader(bytes.NewReader(data))))
	if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
		t.Error("the restored store has another hash")
	}
	if again := written(t, restored); !bytes.Equal(again, data) {
		t.Error("the restored store is written otherwise")
	}
	trial, err := restored.Snapshot().Trial("s", 7)
	ok(t, err)
	run, err := restored.Snapshot().Run(nil, "s", trial.Run)
	ok(t, err)
	if trial.Parameters != run.Parameters {
		t.Error("trial and run have a copy each of their parameters")
	}
	blocks := blocksOf(t, data)
	for i, block := range blocks {
		if len(block) > snapshotfile.HeadSize+2*snapshotfile.BlockSize {
			t.Errorf("block %d has %d bytes", i+1, len(block))
		}
	}
	if want := len(data) / snapshotfile.BlockSize; len(blocks) < want {
		t.Errorf("%d blocks for %d bytes", len(blocks), len(data))
	}
}

// TestRestoreRefusesDamage: whatever is cut off or changed, it is an error, and the store stays as it was.
func TestRestoreRefusesDamage(t *testing.T) {
	source := newStore(t)
	run, trials := testRun("a", 16, 0, 2)
	ok(t, source.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	data := written(t, source)
	store := newListStore(t)
	before := mustHash(t, store.Snapshot())
	refuse := func(what string, data []byte, want error) {
		t.Helper()
		if err := store.Restore(bytes.NewReader(data)); !errors.Is(err, want) {
			t.Fatalf("%s: error %v, want %v", what, err, want)
		}
	}
	for n := range data {
		refuse(fmt.Sprintf("the first %d bytes", n), data[:n], ErrCorrupt)
	}
	for bit := range 8 * len(data) {
		changed := slices.Clone(data)
		changed[bit/8] ^= 1 << (bit % 8)
		refuse(fmt.Sprintf("bit %d turned", bit), changed, ErrCorrupt)
	}
	refuse("two in one", slices.Concat(data, data), ErrCorrupt)
	blocks := blocksOf(t, data)
	header := snapshotfile.Header(snapshotfile.Version)
	for i, block := range blocks[:len(blocks)-1] {
		refuse(fmt.Sprintf("without block %d", i), slices.Concat(header,
			slices.Concat(slices.Delete(slices.Clone(blocks), i, i+1)...)), ErrCorrupt)
		refuse(fmt.Sprintf("block %d twice", i), slices.Concat(header,
			slices.Concat(slices.Insert(slices.Clone(blocks), i, block)...)), ErrCorrupt)
	}
	blocks[0], blocks[1] = blocks[1], blocks[0]
	refuse("two blocks in each other's place", slices.Concat(header, slices.Concat(blocks...)), ErrCorrupt)
	if mustHash(t, store.Snapshot()) != before {
		t.Error("a snapshot that was refused has changed the store")
	}
}

// blocksOf takes a snapshot apart into its blocks, with their heads.
func blocksOf(t testing.TB, data []byte) (blocks [][]byte) {
	t.Helper()
	data = data[len(snapshotfile.Header(0)):]
	for len(data) > 0 {
		size := snapshotfile.HeadSize + int(binary.BigEndian.Uint32(data))
		blocks = append(blocks, data[:size])
		data = data[size:]
	}
	return blocks
}

// forged puts payloads of one's own into blocks whose checksums are right.
func forged(payloads ...[]byte) []byte { return forgedVersion(snapshotfile.Version, payloads...) }

func forgedVersion(version uint32, payloads ...[]byte) []byte {
	data := snapshotfile.Header(version)
	for i, payload := range payloads {
		block := append(make([]byte, snapshotfile.HeadSize), payload...)
		snapshotfile.PutHead(block, uint64(i), payload)
		data = append(data, block...)
	}
	return data
}

func payload(table string, rows ...proto.Message) []byte {
	data := append([]byte{byte(len(table))}, table...)
	for _, row := range rows {
		encoded, _ := proto.Marshal(row)
		data = append(binary.AppendUvarint(data, uint64(len(encoded))), encoded...)
	}
	return data
}

func endMark(rows uint64) []byte { return binary.AppendUvarint([]byte{0}, rows) }

// TestRestoreRefusesNonsense whose checksums are right.
func TestRestoreRefusesNonsense(t *testing.T) {
	worker := func(name string) proto.Message { return &trellisv1.Worker{Name: name, State: lifecycle.WorkerReady} }
	newer := snapshotfile.Header(snapshotfile.Version + 1)
	two := []float64{1, 2}
	study := payload(tableStudies, &trellisv1.Study{
		Name: "s", State: lifecycle.StudyRunning, Indices: 2, Progress: &trellisv1.Progress{
			Runs: 1, Trials: 2,
			EpochsLeft: 4,
		},
	})
	// A study after so many epochs.
	after := func(epochs, trials uint64) []byte {
		return payload(tableStudies, &trellisv1.Study{
			Name: "s", State: lifecycle.StudyRunning, Indices: 2,
			Progress: &trellisv1.Progress{
				Runs: 1, Trials: 2, TrialsSucceeded: trials, Epochs: epochs, EpochsLeft: 4 - epochs, EpochsAlone: 2 * trials,
			},
		})
	}
	aRun, itsTrials := testRun("a", 16, 0, 2, 4)
	aRun.Study, aRun.State = "s", lifecycle.RunPending
	run := payload("runs", aRun)
	aRun.Epochs = 1
	begun := payload("runs", aRun)
	aRun.Epochs = 2
	done := payload("runs", aRun)
	with := func(spoil func(*trellisv1.Run)) []byte {
		spoiled := proto.CloneOf(aRun)
		spoil(spoiled)
		return payload("runs", spoiled)
	}
	var trials []proto.Message
	for _, trial := range itsTrials {
		trial.Study = "s"
		trials = append(trials, trial)
	}
	for name, test := range map[string]struct {
		data []byte
		want error
		text string
	}{
		"nothing":        {nil, ErrCorrupt, "ends within its header"},
		"something else": {[]byte("a text that is long enough"), ErrCorrupt, "does not begin with"},
		"newer":          {newer, ErrNewer, "it has version 9, but this Trellis only reads versions up to 8"},
		"version 0":      {snapshotfile.Header(0), ErrCorrupt, "version 0"},
		"no end":         {forged(payload(tableWorkers, worker("a"))), ErrCorrupt, "ends within block 2"},
		"unknown table":  {forged(payload("cats", worker("a")), endMark(1)), ErrNewer, `unknown table "cats"`},
		"longest name":   {forged(append([]byte{255}, make([]byte, 255)...)), ErrNewer, "unknown table"},
		"no table":       {forged(nil), ErrCorrupt, "missing table name"},
		"cut name":       {forged([]byte{9, 'a'}), ErrCorrupt, "missing table name"},
		"wrong count": {
			forged(payload(tableWorkers, worker("a")), endMark(2)), ErrCorrupt,
			"counts 2 rows, but there are 1",
		},
		"long end mark": {forged(append(endMark(0), 1)), ErrCorrupt, "counts"},
		"twice the same row": {
			forged(payload(tableWorkers, worker("a"), worker("a")), endMark(2)), ErrCorrupt,
			"out of order",
		},
		"out of order": {
			forged(payload(tableWorkers, worker("b"), worker("a")), endMark(2)), ErrCorrupt,
			"out of order",
		},
		"table order": {
			forged(payload(tableWorkers, worker("b")), payload(tableStudies, &trellisv1.Study{Name: "s"}), endMark(2)),
			ErrCorrupt, "table studies comes after table workers",
		},
		"study without name": {
			forged(payload(tableStudies, &trellisv1.Study{}), endMark(1)), ErrCorrupt,
			`invalid name ""`,
		},
		"study without trials": {forged(study, run, endMark(2)), ErrCorrupt, `study "s" has no trials`},
		"trial missing": {
			forged(study, run, payload("trials", trials[0]), endMark(3)), ErrCorrupt,
			"1 trials for runs with 2 milestones",
		},
		"trial twice": {
			forged(study, run, payload("trials", trials[0], &trellisv1.Trial{
				Study: "s", Index: 1, Parameters: itsTrials[0].Parameters, Run: "a",
			}, trials[1]), endMark(5)), ErrCorrupt, "out of order",
		},
		"same creation": {forged(payload(tableStudies, &trellisv1.Study{Name: "a"}, &trellisv1.Study{Name: "b"}),
			endMark(2)), ErrCorrupt, "two studies were created at index 0"},
		"wrong progress": {
			forged(after(1, 0), run, payload("trials", trials...), endMark(4)), ErrCorrupt,
			`the progress of study "s"`,
		},
		"indices too low": {forged(payload(tableStudies, &trellisv1.Study{
			Name: "s", State: lifecycle.StudyRunning, Indices: 1, Progress: &trellisv1.Progress{
				Runs: 1, Trials: 2,
				EpochsLeft: 4,
			},
		}), run, payload("trials", trials...), endMark(4)), ErrCorrupt, "says that its trials' indices are below 1, but has a trial 1"},
		"run in a later state": {
			forged(study, with(func(r *trellisv1.Run) { r.State = lifecycle.RunPruned + 1 })),
			ErrCorrupt, "run a is 7",
		},
		"run in no state": {
			forged(study, with(func(r *trellisv1.Run) { r.State = 0 })), ErrCorrupt,
			"run a is RUN_STATE_UNSPECIFIED",
		},
		"lease without worker": {
			forged(study, with(func(r *trellisv1.Run) { r.State = lifecycle.RunLeased })),
			ErrCorrupt, `but has attempt 0 of worker ""`,
		},
		"too many epochs": {
			forged(study, with(func(r *trellisv1.Run) { r.Epochs = 5 })), ErrCorrupt,
			"after 5 of 4 epochs",
		},
		"checkpoint too late": {forged(study, with(func(r *trellisv1.Run) {
			r.Checkpoints = []*trellisv1.Checkpoint{{Epoch: 3}}
		})), ErrCorrupt, "checkpoint of epoch 3 after that of 0, and 2 epochs"},
		"two checkpoints of one epoch": {forged(study, with(func(r *trellisv1.Run) {
			r.Checkpoints = []*trellisv1.Checkpoint{{Epoch: 1}, {Epoch: 1}}
		})), ErrCorrupt, "checkpoint of epoch 1 after that of 1, and 2 epochs"},
		"lease of nobody": {forged(study, with(func(r *trellisv1.Run) {
			r.State, r.Worker, r.Attempt = lifecycle.RunLeased, "nobody", 1
		}), endMark(2)), ErrCorrupt, "1 workers that do not exist have runs"},
		"worker of no lease": {forged(payload(tableWorkers,
			&trellisv1.Worker{
				Name: "w", State: lifecycle.WorkerReady,
				Runs: 1,
			})), ErrCorrupt, "with 1 runs, but 0 are leased to it"},
		"worker in no state": {
			forged(payload(tableWorkers, &trellisv1.Worker{Name: "w"})), ErrCorrupt,
			"WORKER_STATE_UNSPECIFIED",
		},
		"worker without name": {forged(payload(tableWorkers, worker(""))), ErrCorrupt, `invalid name ""`},
		"run without study":   {forged(run, endMark(1)), ErrCorrupt, `study "s", which does not exist`},
		"trial without run": {
			forged(study, payload("trials", trials...), endMark(3)), ErrCorrupt,
			"run a not found",
		},
		"losses without run": {forged(study, run, payload("trials", trials...),
			payload("losses", &trellisv1.Losses{Study: "s", Run: "z"}), endMark(5)), ErrCorrupt, `run "z"`},
		"times of no epochs": {forged(study, run, payload("trials", trials...),
			payload("losses", &trellisv1.Losses{
				Study: "s", Run: "a",
				Seconds: []float32{1},
			}), endMark(5)), ErrCorrupt, "times of 1 epochs, but run a has 0"},
		"losses of no epochs": {forged(study, run, payload("trials", trials...),
			payload("losses", &trellisv1.Losses{
				Study: "s", Run: "a",
				TrainLoss: []float64{1},
			}), endMark(5)), ErrCorrupt, "1 and 0 losses for 0 epochs"},
		"metrics of fewer epochs": {forged(after(2, 0), done, payload("trials", trials...),
			payload("losses", &trellisv1.Losses{
				Study: "s", Run: "a", TrainLoss: two, ValidationLoss: two,
				Metrics: map[string]*trellisv1.Series{"train_accuracy": {Values: two[:1]}},
			}), endMark(5)), ErrCorrupt, `1 values of metric "train_accuracy" for 2 epochs of run a`},
		"best after the last": {
			forged(study, with(func(r *trellisv1.Run) { r.BestEpoch = 3 })), ErrCorrupt,
			"best epoch, 3, after its last epoch, 2",
		},
		"epochs without losses": {
			forged(after(1, 0), begun, payload("trials", trials...), endMark(4)), ErrCorrupt,
			`run a of study "s" has no losses`,
		},
		"answers missing": {forged(after(2, 1), with(func(r *trellisv1.Run) { r.ValidationLoss = 2 }), payload("trials", trials...),
			payload("losses", &trellisv1.Losses{
				Study: "s", Run: "a", TrainLoss: two,
				ValidationLoss: two,
			}), endMark(5)), ErrCorrupt, "do not follow from its 2 epochs"},
		"no row": {
			forged(append(payload(tableWorkers), 3, 0xff, 0xff, 0xff), endMark(1)), ErrCorrupt,
			"table workers: a row is not a message",
		},
		"long row": {
			forged(append(payload(tableWorkers), 4, 1), endMark(1)), ErrCorrupt,
			"longer than its block",
		},
		"huge row": {
			forged(append(payload(tableWorkers), bytes.Repeat([]byte{0xff}, 9)...), endMark(1)),
			ErrCorrupt, "longer than its block",
		},
		"after end": {append(forged(endMark(0)), 0), ErrCorrupt, "something follows its end"},
	} {
		t.Run(name, func(t *testing.T) {
			err := newStore(t).Restore(bytes.NewReader(test.data))
			if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
	ok(t, newStore(t).Restore(bytes.NewReader(forged(endMark(0)))))
}

var errDisk = errors.New("the disk is broken")

func TestSnapshotPassesErrorsOn(t *testing.T) {
	store := newFullStore(t)
	data := written(t, store)
	before := mustHash(t, store.Snapshot())
	for _, n := range []int{
		0, 10, len(snapshotfile.Header(0)), len(snapshotfile.Header(0)) + 3, len(data) / 2,
		len(data),
	} {
		err := store.Restore(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(errDisk)))
		if !errors.Is(err, errDisk) || errors.Is(err, ErrCorrupt) {
			t.Errorf("the disk breaks after %d bytes: %v", n, err)
		}
		wrote, err := store.Snapshot().WriteTo(&brokenWriter{room: n})
		if n < len(data) && (!errors.Is(err, errDisk) || int(wrote) != n) {
			t.Errorf("the disk breaks after %d bytes, of which %d are said to be written: %v", n, wrote, err)
		}
	}
	if mustHash(t, store.Snapshot()) != before {
		t.Error("a snapshot that could not be read has changed the store")
	}
}

// brokenWriter has room for so many bytes.
type brokenWriter struct{ room int }

func (w *brokenWriter) Write(data []byte) (int, error) {
	if len(data) > w.room {
		n := w.room
		w.room = 0
		return n, errDisk
	}
	w.room -= len(data)
	return len(data), nil
}

// TestRestoreWakes: whoever waits for anything looks again when everything has been replaced.
func TestRestoreWakes(t *testing.T) {
	store := newFullStore(t)
	data := written(t, newListStore(t))
	snapshot := store.Snapshot()
	before := mustHash(t, snapshot)
	watches := map[string]memdb.WatchSet{}
	for name, query := range map[string]func(memdb.WatchSet) error{
		"study":        func(ws memdb.WatchSet) error { _, err := snapshot.Study(ws, "s"); return err },
		"studies":      func(ws memdb.WatchSet) error { _, err := snapshot.Studies(ws); return err },
		"run":          func(ws memdb.WatchSet) error { _, err := snapshot.Run(ws, "s", "failed"); return err },
		"runs held":    func(ws memdb.WatchSet) error { _, err := snapshot.RunsHeldBy(ws, "w"); return err },
		"next runs":    func(ws memdb.WatchSet) error { _, err := snapshot.NextRuns(ws, 1); return err },
		"losses":       func(ws memdb.WatchSet) error { _, err := snapshot.Losses(ws, "s", "running"); return err },
		"best":         func(ws memdb.WatchSet) error { _, err := snapshot.Best(ws, "s"); return err },
		"worker":       func(ws memdb.WatchSet) error { _, err := snapshot.Worker(ws, "w"); return err },
		"workers":      func(ws memdb.WatchSet) error { _, err := snapshot.Workers(ws); return err },
		"free workers": func(ws memdb.WatchSet) error { _, err := snapshot.FreeWorkers(ws); return err },
	} {
		watches[name] = memdb.NewWatchSet()
		ok(t, query(watches[name]))
	}
	fired := func(ws memdb.WatchSet) bool {
		for channel := range ws {
			select {
			case <-channel:
				return true
			default:
			}
		}
		return false
	}
	for name, ws := range watches {
		if fired(ws) {
			t.Errorf("%s: fired before", name)
		}
	}
	ok(t, store.Restore(bytes.NewReader(data)))
	for name, ws := range watches {
		if !fired(ws) {
			t.Errorf("%s: who waits for it sleeps on", name)
		}
	}
	if mustHash(t, snapshot) != before {
		t.Error("a snapshot from before has changed")
	}
	// The store goes on from what it has now.
	running := AttemptNumber(6, 0)
	record(t, store, 40, reportEntry("s", "running", running, 2, 1, 1, nil))
	ws := memdb.NewWatchSet()
	_, err := store.Snapshot().Study(ws, "s")
	ok(t, err)
	if fired(ws) {
		t.Error("who begins to wait after that is woken at once")
	}
}

// TestOldSnapshots: what every version has written can still be read. Run with -update to add one of a new version;
// those that are there stay as they are.
func TestOldSnapshots(t *testing.T) {
	name := fmt.Sprintf("testdata/snapshot-%d", snapshotfile.Version)
	if _, err := os.Stat(name + ".bin"); *update && errors.Is(err, os.ErrNotExist) {
		store := newFullStore(t)
		hash := mustHash(t, store.Snapshot())
		ok(t, os.WriteFile(name+".bin", written(t, store), 0o644))
		ok(t, os.WriteFile(name+".sha256", []byte(hex.EncodeToString(hash[:])+"\n"), 0o644))
	}
	for version := 1; version <= snapshotfile.Version; version++ {
		name := fmt.Sprintf("testdata/snapshot-%d", version)
		data, err := os.ReadFile(name + ".bin")
		ok(t, err)
		want, err := os.ReadFile(name + ".sha256")
		ok(t, err)
		store := newStore(t)
		ok(t, store.Restore(bytes.NewReader(data)))
		hash := mustHash(t, store.Snapshot())
		if got := hex.EncodeToString(hash[:]); got != strings.TrimSpace(string(want)) {
			t.Errorf("%s.bin is restored to a store of hash %s, want %s", name, got, want)
		}
		checkIndexes(t, store.Snapshot())
	}
}

// FuzzRestore: rows that are nonsense give an error and nothing worse, even where all checksums are right; and what is
// accepted can be used and written again. It takes no more memory than a multiple of what there is. The input is payloads of blocks, each after its length in two bytes.
func FuzzRestore(f *testing.F) {
	for _, store := range []*Store{newFullStore(f), newStore(f)} {
		var input []byte
		for _, block := range blocksOf(f, written(f, store)) {
			payload := block[snapshotfile.HeadSize:]
			input = append(binary.BigEndian.AppendUint16(input, uint16(len(payload))), payload...)
		}
		f.Add(input)
	}
	f.Add(append([]byte{1, 0, 255}, make([]byte, 255)...))
	f.Fuzz(func(t *testing.T, input []byte) {
		var payloads [][]byte
		rows := uint64(0)
		for len(input) >= 2 {
			size := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
			payload := input[2 : 2+size]
			input = input[2+size:]
			if len(payload) > 0 && payload[0] > 0 {
				payloads, rows = append(payloads, payload), rows+countRows(payload)
			}
		}
		store, file := newStore(t), forged(append(payloads, endMark(rows))...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := store.Restore(bytes.NewReader(file))
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20+1000*uint64(len(file)) {
			t.Errorf("%d bytes of memory for %d", took, len(file))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		useStore(t, store)
		again := newStore(t)
		ok(t, again.Restore(bytes.NewReader(written(t, store))))
		if mustHash(t, again.Snapshot()) != mustHash(t, store.Snapshot()) {
			t.Error("the restored store has another hash")
		}
	})
}

func countRows(payload []byte) (rows uint64) {
	rest := payload[min(len(payload), 1+int(payload[0])):]
	for len(rest) > 0 {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			break
		}
		rest = rest[n+int(size):]
		rows++
	}
	return rows
}

// useStore does whatever can be done with a store. Only panics matter.
func useStore(t *testing.T, store *Store) {
	ok(t, store.SetWorker(1<<40, at(1), trajectory.LatestRules,
		&trellisv1.Worker{Name: "fuzzed", State: lifecycle.WorkerReady, Slots: 100}))
	next, err := store.Snapshot().NextRuns(nil, 100)
	ok(t, err)
	for i, run := range next {
		index := 1<<40 + uint64(10*i)
		attempt := AttemptNumber(index, 0)
		store.Grant(index, at(1), []*trellisv1.Grant{{Study: run.Study, Run: run.Id, Worker: "fuzzed"}})
		epoch := run.Epochs + 1
		store.Record(index+1, at(1), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{
			reportEntry(run.Study, run.Id, attempt, 1, 1, 1, nil), reportEntry(run.Study, run.Id, attempt, epoch, 1, 1,
				nil),
			checkpointEntry(run.Study, run.Id, attempt, epoch, digest("a")), successEntry(run.Study, run.Id, attempt,
				epoch),
		})
	}
	workers, err := store.Snapshot().Workers(nil)
	ok(t, err)
	for _, worker := range workers {
		_ = store.SetWorker(1<<41, at(1), trajectory.LatestRules,
			&trellisv1.Worker{Name: worker.Name, State: lifecycle.WorkerLost})
	}
	studies, err := store.Snapshot().Studies(nil)
	ok(t, err)
	for _, study := range studies {
		for _, orderBy := range []string{"", "objective", "epochs"} {
			_, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
				Study: study.Name, OrderBy: orderBy,
				Losses: true,
			})
			ok(t, err)
		}
		_, _ = store.Snapshot().Best(nil, study.Name)
		_ = store.SetStudyState(1<<42, at(1), study.Name, lifecycle.StudyCanceled)
	}
}
