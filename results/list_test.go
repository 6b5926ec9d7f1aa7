package results

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// newListStore has a study of eight trials in six runs:
//
//	trial  latent  max_epochs  state      objective       test_loss
//	0      4       2           succeeded  0.3 in epoch 1  0.31
//	1      4       4           succeeded  0.1 in epoch 3  0.11
//	2      8       2           succeeded  0.1 in epoch 2
//	3      2       2           diverged   NaN
//	4      1       2           running    0.2 in epoch 1
//	5      1       3           running    0.2 in epoch 1
//	6      3       2           failed
//	7      16      2           pending
func newListStore(t testing.TB) *Store {
	store := newStore(t)
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for _, r := range []struct {
		id         string
		latentDim  uint32
		milestones []uint32
	}{
		{"shared", 4, []uint32{2, 4}},
		{"wide", 8, []uint32{2}},
		{"diverged", 2, []uint32{2}},
		{"running", 1, []uint32{2, 3}},
		{"failed", 3, []uint32{2}},
		{"pending", 16, []uint32{2}},
	} {
		run, its := testRun(r.id, r.latentDim, uint64(len(trials)), r.milestones...)
		runs, trials = append(runs, run), append(trials, its...)
	}
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s", Spec: modelSpec()}, runs, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 9}))
	attempts := map[string]uint64{}
	for i, run := range runs[:5] {
		attempts[run.Id] = grant1(t, store, uint64(3+i), "s", run.Id, "w")
	}
	report := func(run string, epoch uint32, validation float64, test ...float64) *trellisv1.RecordCommand_Entry {
		var testLoss *float64
		if len(test) > 0 {
			testLoss = &test[0]
		}
		return reportEntry("s", run, attempts[run], epoch, validation+1, validation, testLoss)
	}
	record(t, store, 8,
		report("shared", 1, 0.3), report("shared", 2, 0.4, 0.31), report("shared", 3, 0.1),
		report("shared", 4, 0.1, 0.11), successEntry("s", "shared", attempts["shared"], 4),
		report("wide", 1, 0.2), report("wide", 2, 0.1), successEntry("s", "wide", attempts["wide"], 2),
		report("diverged", 1, math.NaN()), successEntry("s", "diverged", attempts["diverged"], 1),
		report("running", 1, 0.2),
		failureEntry("s", "failed", attempts["failed"], trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY,
			"too large"),
	)
	return store
}

func indexes(trials []*trellisv1.Trial) string {
	var text strings.Builder
	for _, trial := range trials {
		fmt.Fprint(&text, trial.Index)
	}
	return text.String()
}

func TestListTrialsOrder(t *testing.T) {
	snapshot := newListStore(t).Snapshot()
	// Ties are ranked by latent dimension, then epochs, then index, whichever way round the field is.
	for orderBy, want := range map[string]string{
		"":               "01234567",
		"index":          "01234567",
		"-index":         "76543210",
		"objective":      "12450367",
		"-objective":     "04512367",
		"test_loss":      "10453627",
		"-test_loss":     "01453627",
		"state":          "74501263",
		"-state":         "36012457",
		"epochs":         "67453021",
		"-epochs":        "10245367",
		"best_epoch":     "45021367",
		"-best_epoch":    "12450367",
		"latent_dim":     "45360127",
		"-latent_dim":    "72016345",
		"max_epochs":     "43602751",
		"-max_epochs":    "15436027",
		"learning_rate":  "45360127",
		"-learning_rate": "45360127",
		"weight_decay":   "45360127",
		"seed":           "45360127",
		"batch_size":     "45360127",
	} {
		list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", OrderBy: orderBy})
		if err != nil || indexes(list.GetTrials()) != want || list.GetTotal() != 8 || list.GetNextPageToken() != "" {
			t.Errorf("order %q: %s of %d and error %v, want %s", orderBy, indexes(list.GetTrials()), list.GetTotal(),
				err, want)
		}
	}
}

func TestListTrialsFilter(t *testing.T) {
	snapshot := newListStore(t).Snapshot()
	for filter, want := range map[string]string{
		"  ":                                 "01234567",
		"true":                               "01234567",
		"index >= 6":                         "67",
		"objective < 0.2":                    "12",
		"objective < 1":                      "01245",
		"!(objective < 1)":                   "367",
		"objective >= 0.2":                   "045",
		"objective == objective":             "01245",
		"test_loss > 0":                      "01",
		"state == \"succeeded\"":             "012",
		"state == \"diverged\"":              "3",
		"state in ['running', 'failed']":     "456",
		"state.startsWith('r')":              "45",
		"epochs == 0":                        "67",
		"best_epoch == 3":                    "1",
		"latent_dim == 4 && max_epochs == 4": "1",
		"latent_dim * 2 == 16 || state == 'pruned'": "2",
		"learning_rate == 0.001":                    "01234567",
		"weight_decay > 0 && weight_decay < 1":      "01234567",
		"seed == 1 && batch_size == 256":            "01234567",
		"epochs < max_epochs && objective == 1":     "",
	} {
		list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", Filter: filter})
		if err != nil || indexes(list.GetTrials()) != want || int(list.GetTotal()) != len(want) {
			t.Errorf("filter %q: %s of %d and error %v, want %s", filter, indexes(list.GetTrials()), list.GetTotal(),
				err, want)
		}
	}
}

func TestListTrialsInvalid(t *testing.T) {
	snapshot := newListStore(t).Snapshot()
	page, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", PageSize: 2, OrderBy: "objective"})
	ok(t, err)
	token := page.NextPageToken
	for name, test := range map[string]struct {
		request *trellisv1.ListTrialsRequest
		want    error
		text    string
	}{
		"unknown study": {&trellisv1.ListTrialsRequest{Study: "t"}, ErrNotFound, `study "t" not found`},
		"unknown order": {
			&trellisv1.ListTrialsRequest{OrderBy: "loss"}, ErrInvalid,
			`unknown field "loss": did you mean "test_loss"?`,
		},
		"two hyphens":   {&trellisv1.ListTrialsRequest{OrderBy: "--index"}, ErrInvalid, "order_by"},
		"only a hyphen": {&trellisv1.ListTrialsRequest{OrderBy: "-"}, ErrInvalid, "order_by"},
		"unknown field": {
			&trellisv1.ListTrialsRequest{Filter: "index > 1 &&\n  loss < 1"}, ErrInvalid,
			`unknown field "loss"`,
		},
		"syntax": {
			&trellisv1.ListTrialsRequest{Filter: "index >"}, ErrInvalid,
			`something is missing after "index >"`,
		},
		"no condition": {&trellisv1.ListTrialsRequest{Filter: "objective"}, ErrInvalid, "must be a condition"},
		"wrong type": {
			&trellisv1.ListTrialsRequest{Filter: "state == 3"}, ErrInvalid,
			"== can't be used on a text and a whole number",
		},
		"wrong type inside": {&trellisv1.ListTrialsRequest{Filter: "objective < 'x'"}, ErrInvalid, "numbers and texts can't be compared"},
		"division by zero": {
			&trellisv1.ListTrialsRequest{Filter: "1 / (index - 1) == 0"}, ErrInvalid,
			"division by zero",
		},
		"a loop": {
			&trellisv1.ListTrialsRequest{Filter: "[1, 2].exists(x, x == index)"}, ErrInvalid,
			`unknown function "exists"`,
		},
		"too long": {
			&trellisv1.ListTrialsRequest{Filter: strings.Repeat(" ", 1000) + "true"}, ErrInvalid,
			"at most 1000 bytes",
		},
		"too costly": {
			&trellisv1.ListTrialsRequest{Filter: "('" + strings.Repeat("a", 450) + "').matches('" + strings.Repeat("a",
				450) + "')"},
			ErrInvalid, "takes too long",
		},
		"no token": {&trellisv1.ListTrialsRequest{PageToken: "?"}, ErrInvalid, "page_token"},
		"cut token": {
			&trellisv1.ListTrialsRequest{PageToken: token[:20], OrderBy: "objective"}, ErrInvalid,
			"page_token",
		},
		"token of other order": {&trellisv1.ListTrialsRequest{PageToken: token}, ErrInvalid, "page_token"},
		"token of other filter": {
			&trellisv1.ListTrialsRequest{PageToken: token, OrderBy: "objective", Filter: "true"},
			ErrInvalid, "page_token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.request.Study == "" {
				test.request.Study = "s"
			}
			list, err := snapshot.ListTrials(test.request)
			if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.text) || list != nil {
				t.Errorf("%v and error %v, want %v with %q", list, err, test.want, test.text)
			}
		})
	}
}

func TestListTrialsLosses(t *testing.T) {
	snapshot := newListStore(t).Snapshot()
	list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", Losses: true})
	ok(t, err)
	for i, want := range [][]float64{
		{0.3, 0.4},
		{0.3, 0.4, 0.1, 0.1},
		{0.2, 0.1},
		{math.NaN()},
		{0.2},
		{0.2},
		nil,
		nil,
	} {
		trial := list.Trials[i]
		if !slices.EqualFunc(trial.ValidationLoss, want, sameLoss) || len(trial.TrainLoss) != len(want) {
			t.Errorf("losses of trial %d: %v and %v, want %v", i, trial.TrainLoss, trial.ValidationLoss, want)
		}
		if len(want) > 0 && !sameLoss(trial.TrainLoss[0], want[0]+1) {
			t.Errorf("train loss of trial %d: %v", i, trial.TrainLoss)
		}
	}
	plain, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s"})
	ok(t, err)
	for _, trial := range plain.Trials {
		if trial.TrainLoss != nil || trial.ValidationLoss != nil {
			t.Errorf("losses without having been asked for: %v", trial)
		}
	}
}

// TestListTrialsLargePages: a page of long runs ends before it is too large for a message, and nothing is left out.
func TestListTrialsLargePages(t *testing.T) {
	const runs, epochs = 8, 20_000 // 320 kB of losses each
	store := newStore(t)
	index := createLarge(t, store, "s", runs, epochs)
	for range runs {
		next, err := store.Snapshot().NextRuns(nil, 1)
		ok(t, err)
		attempt := grant1(t, store, index, "s", next[0].Id, "worker")
		column := slices.Repeat([]float64{1}, epochs)
		record(t, store, index+1, columnEntry("s", next[0].Id, attempt, 1, column, column, nil))
		index += 2
	}
	for _, order := range []string{"", "objective"} {
		request := &trellisv1.ListTrialsRequest{Study: "s", Losses: true, OrderBy: order}
		var indexes []uint64
		for {
			page, err := store.Snapshot().ListTrials(request)
			ok(t, err)
			if size := proto.Size(page); size > 2*listing.MaxPageBytes {
				t.Fatalf("a page has %d bytes", size)
			}
			for _, trial := range page.Trials {
				indexes = append(indexes, trial.Index)
			}
			if request.PageToken = page.NextPageToken; request.PageToken == "" {
				break
			}
		}
		if len(indexes) != runs || !slices.IsSorted(indexes) {
			t.Errorf("ordered by %q, the pages have trials %v, want %d", order, indexes, runs)
		}
	}
}

// TestListTrialsPages: pages put together are the whole list, for every order.
func TestListTrialsPages(t *testing.T) {
	store := newStore(t)
	createLarge(t, store, "s", 300, 3)
	var entries []*trellisv1.RecordCommand_Entry
	for i := range 200 {
		index := uint64(10 + i)
		attempt := grant1(t, store, index, "s", largeRunID(i), "worker")
		for epoch := range uint32(i % 4) {
			entries = append(entries, reportEntry("s", largeRunID(i), attempt, epoch+1, 1, float64(i%7), nil))
		}
	}
	record(t, store, 1000, entries...)
	snapshot := store.Snapshot()
	whole, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: "s", PageSize: 1000})
	ok(t, err)
	orders := []string{""}
	for _, field := range listing.FieldsOn(grid.Parameters(modelSpec())) {
		orders = append(orders, field.Name, "-"+field.Name)
	}
	for _, orderBy := range orders {
		for _, filter := range []string{"", "objective < 5", "epochs == 3", "false"} {
			for _, size := range []uint32{37, 300} {
				request := &trellisv1.ListTrialsRequest{Study: "s", OrderBy: orderBy, Filter: filter, PageSize: size}
				t.Run(fmt.Sprintf("%s/%s/%d", orderBy, filter, size), func(t *testing.T) {
					checkPages(t, snapshot, request, whole.Trials)
				})
			}
		}
	}
}

// checkPages compares all pages with what sorting and filtering the study's trials gives.
func checkPages(t *testing.T, snapshot *Snapshot, request *trellisv1.ListTrialsRequest, trials []*trellisv1.Trial) {
	order, err := listing.NewOrder(request.OrderBy, listing.FieldsOn(grid.Parameters(modelSpec())))
	ok(t, err)
	matches, err := listing.NewFilter(request.Filter, listing.FieldsOn(grid.Parameters(modelSpec())))
	ok(t, err)
	want := slices.DeleteFunc(slices.Clone(trials), func(trial *trellisv1.Trial) bool {
		match, err := matches(trial)
		return err != nil || !match
	})
	slices.SortFunc(want, func(a, b *trellisv1.Trial) int {
		ka, kb := order(a), order(b)
		return bytes.Compare(ka[:], kb[:])
	})
	var got []*trellisv1.Trial
	for more := true; more && len(got) <= len(want); {
		page, err := snapshot.ListTrials(request)
		ok(t, err)
		if int(page.Total) != len(want) {
			t.Fatalf("total %d, want %d", page.Total, len(want))
		}
		got = append(got, page.Trials...)
		request.PageToken = page.NextPageToken
		more = page.NextPageToken != ""
		if more && len(page.Trials) != int(request.PageSize) {
			t.Fatalf("a page of %d before the last", len(page.Trials))
		}
	}
	if !slices.EqualFunc(got, want, func(a, b *trellisv1.Trial) bool { return proto.Equal(a, b) }) {
		t.Fatalf("%d trials %v, want %d", len(got), indexes(got), len(want))
	}
}

// TestListTrialsMeanwhile: what happens between two pages neither repeats nor hides a trial that it does not concern.
func TestListTrialsMeanwhile(t *testing.T) {
	store := newListStore(t)
	request := &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "objective", PageSize: 3}
	page, err := store.Snapshot().ListTrials(request)
	ok(t, err)
	if indexes(page.Trials) != "124" {
		t.Fatalf("first page: %s", indexes(page.Trials))
	}
	// The trial that was pending is now the best of all.
	attempt := grant1(t, store, 20, "s", "pending", "w")
	record(t, store, 21, reportEntry("s", "pending", attempt, 1, 0, 0.01, nil))
	request.PageToken = page.NextPageToken
	page, err = store.Snapshot().ListTrials(request)
	ok(t, err)
	if indexes(page.Trials) != "503" {
		t.Errorf("second page: %s", indexes(page.Trials))
	}
}

// A token is of one study, not of its name, and pages say whether the study has changed between them.
func TestPagesOfOneStudy(t *testing.T) {
	store := newListStore(t)
	request := &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "objective", PageSize: 2}
	first, err := store.Snapshot().ListTrials(request)
	ok(t, err)
	request.PageToken = first.NextPageToken
	second, err := store.Snapshot().ListTrials(request)
	ok(t, err)
	if first.CreateIndex != 1 || second.CreateIndex != 1 || first.ModifyIndex != second.ModifyIndex {
		t.Errorf("pages of one state are of study %d at %d and %d at %d", first.CreateIndex, first.ModifyIndex,
			second.CreateIndex, second.ModifyIndex)
	}
	attempt := grant1(t, store, 20, "s", "pending", "w")
	record(t, store, 21, reportEntry("s", "pending", attempt, 1, 0, 0.01, nil))
	if second, err = store.Snapshot().ListTrials(request); err != nil || second.ModifyIndex <= first.ModifyIndex {
		t.Errorf("after a change: %d, was %d, error %v", second.GetModifyIndex(), first.ModifyIndex, err)
	}
	ok(t, store.DeleteStudy(22, "s", 0, 0))
	if _, err := store.Snapshot().ListTrials(request); !errors.Is(err, ErrNotFound) {
		t.Errorf("the study was deleted: %v", err)
	}
	run, trials := testRun("a", 16, 0, 2)
	ok(t, store.CreateListed(23, at(23), &trellisv1.Study{Name: "s", Spec: modelSpec()}, []*trellisv1.Run{run}, trials))
	_, err = store.Snapshot().ListTrials(request)
	if want := `study "s" was deleted and created again since the previous page`; !errors.Is(err, ErrReplaced) ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("the study was replaced: %v", err)
	}
}

// A page has the runs of its trials if they are asked for, each once.
func TestListTrialsWithRuns(t *testing.T) {
	store := newListStore(t)
	for _, request := range []*trellisv1.ListTrialsRequest{
		{Study: "s"},
		{Study: "s", OrderBy: "-index"},
		{Study: "s", OrderBy: "objective"},
		{Study: "s", Filter: "index > 1"},
		{Study: "s", PageSize: 3},
	} {
		request.Runs = true
		list, err := store.Snapshot().ListTrials(request)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, trial := range list.GetTrials() {
			if !slices.Contains(want, trial.GetRun()) {
				want = append(want, trial.GetRun())
			}
		}
		var got []string
		for _, run := range list.GetRuns() {
			got = append(got, run.GetId())
			same, err := store.Snapshot().Run(nil, "s", run.GetId())
			if err != nil || !proto.Equal(run, same) {
				t.Errorf("%v: run %s is %v, want %v (error %v)", request, run.GetId(), run, same, err)
			}
		}
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%v: runs are %v, want %v", request, got, want)
		}
	}
	if list, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s"}); err != nil || len(list.GetRuns()) > 0 {
		t.Errorf("runs that nobody asked for are %v (error %v), want none", list.GetRuns(), err)
	}
}
