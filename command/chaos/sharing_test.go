package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Trials that differ in their maximum of epochs alone are answered by one run. Each is bit for bit what it is by
// itself, and what is saved is what they would have taken by themselves.
func TestOneRunForManyTrials(t *testing.T) {
	skipRaced(t)
	parallel(t)
	spec := realSpec()
	l := newFleet(t).newLab("coordinator", 2)
	l.submit("together", spec, false)
	report, trials := l.complete("together")
	if trained := l.trained(); trained != 12 || report.GetEpochsTrained() != trained {
		t.Errorf("%d epochs were trained, %d are reported, want 12", trained, report.GetEpochsTrained())
	}
	if report.GetTrained() != 2 || report.GetPrefixes() != 4 || report.GetEpochsAlone() != 24 {
		t.Errorf("want 2 trials trained, 4 that are prefixes, and 24 epochs if they were trained alone: %v", report)
	}
	var alone []*trellisv1.Trial
	before := l.trained()
	for i, trial := range trials {
		alone = append(alone, l.alone(fmt.Sprintf("alone-%d", i), spec, trial.GetParameters()))
	}
	if trained := l.trained() - before; trained != report.GetEpochsAlone() {
		t.Errorf("the same trials took %d epochs by themselves, the report says %d", trained, report.GetEpochsAlone())
	}
	l.sameAnswers("trained alone", trials, alone)
	t.Logf("%d epochs instead of %d, %.2f s and %.2f s saved", report.GetEpochsTrained(), report.GetEpochsAlone(),
		report.GetSecondsTrained(), report.GetSecondsSaved())
	if saved := report.GetSecondsSaved() / report.GetSecondsTrained(); saved < 0.999 || saved > 1.001 {
		t.Errorf("half of the epochs were saved: %v s of training saved %v s", report.GetSecondsTrained(),
			report.GetSecondsSaved())
	}
}

// Once a run has ended by itself, all trials that ask for more epochs are answered by it without any training: each is
// what it is by itself.
func TestEarlyStopCollapse(t *testing.T) {
	skipRaced(t)
	parallel(t)
	stopsEarly := realSpec()
	stopsEarly.Grid[0].Axes["max_epochs"] = integers(2, 7, 8, 9)
	stopsEarly.EarlyStopping = &trellisv1.EarlyStopping{Patience: 2, MinDelta: 0.02}
	diverges := synthetic("", 0, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    integers(16),
		"learning_rate": values(1e-2, 0.25),
		"max_epochs":    integers(3, 30, 40, 50, 60),
	}})
	diverges.EarlyStopping = &trellisv1.EarlyStopping{Patience: 4, MinDelta: 1e-3}
	l := newFleet(t).newLab("coordinator", 2)
	for _, test := range []struct {
		name string
		spec *trellisv1.StudySpec
	}{{"network", stopsEarly}, {"synthetic", diverges}} {
		before := l.trained()
		l.submit(test.name, test.spec, false)
		report, trials := l.complete(test.name)
		trained := l.trained() - before
		// By run, as far as trials were trained by themselves.
		longest, stopped := map[string]uint32{}, map[string]uint64{}
		var epochs, epochsAlone uint64
		for i, trial := range trials {
			alone := l.alone(fmt.Sprintf("%s-%d", test.name, i), test.spec, trial.GetParameters())
			l.sameAnswers(test.name+" trained alone", trials[i:i+1], []*trellisv1.Trial{alone})
			epochsAlone += uint64(alone.GetEpochs())
			longest[alone.GetRun()] = max(longest[alone.GetRun()], alone.GetEpochs())
			if alone.GetEpochs() < alone.GetParameters().GetMaxEpochs() {
				stopped[alone.GetRun()]++
			}
		}
		var early, collapsed uint64
		for run := range longest {
			epochs += uint64(longest[run])
			early += min(stopped[run], 1)
			collapsed += max(stopped[run], 1) - 1
		}
		if trained != epochs || report.GetEpochsTrained() != epochs || report.GetEpochsAlone() != epochsAlone {
			t.Errorf("%s: %d epochs were trained, want %d, and %d alone: %v", test.name, trained, epochs, epochsAlone,
				report)
		}
		if report.GetEarlyStopped() != early || report.GetCollapsed() != collapsed || collapsed < 4 {
			t.Errorf("%s: want %d trials that stopped early and %d, 4 or more, answered with them: %v", test.name,
				early, collapsed,
				report)
		}
		t.Logf("%s: of %d trials, %d were answered without training: %d epochs instead of %d", test.name, len(trials),
			collapsed, epochs, epochsAlone)
		before = l.trained()
		request := &trellisv1.ExtendStudyRequest{
			Study: test.name, Axes: map[string]*trellisv1.Axis{"max_epochs": integers(1000)},
		}
		if _, err := l.client.ExtendStudy(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		report, _ = l.complete(test.name)
		if report.GetCollapsed() != collapsed+2 || l.trained() != before {
			t.Errorf("%s: two trials more are to be answered without training: %v", test.name, report)
		}
	}
}

// A study that was trained before is complete as soon as it is submitted again, and nothing is trained. What changes a
// digit shares nothing.
func TestResubmitted(t *testing.T) {
	skipRaced(t)
	parallel(t)
	spec := realSpec()
	l := newFleet(t).newLab("coordinator", 2)
	l.submit("first", spec, false)
	first, want := l.complete("first")
	trained := l.trained()

	begin := time.Now()
	study := l.submit("second", spec, false)
	took := time.Since(begin)
	// The answer to the call says so: nothing is waited for.
	if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
		t.Errorf("submitted again it is %v", study.GetState())
	}
	second, got := l.complete("second")
	t.Logf("submitted again, the study was complete after %v", took.Round(100*time.Microsecond))
	l.sameAnswers("submitted again", got, want)
	if second.GetShared() != 6 || second.GetEpochsTrained() != 0 || second.GetEpochsShared() != 12 ||
		second.GetSharedFrom()["first"] != 12 || second.GetDigest() != first.GetDigest() {
		t.Errorf("want 6 trials and 12 epochs of study first:\n got %v\nfirst %v", second, first)
	}
	// A part of the grid in another order, and a point that nobody has asked for.
	part := proto.CloneOf(spec)
	part.Grid[0].Axes["latent_dim"], part.Grid[0].Axes["max_epochs"] = integers(8, 4), integers(5, 3)
	l.submit("part", part, false)
	if report, _ := l.complete("part"); report.GetShared() != 4 || report.GetEpochsTrained() != 0 {
		t.Errorf("want 4 trials that are prefixes of what is known: %v", report)
	}
	if now := l.trained(); now != trained {
		t.Errorf("%d epochs were trained for what was known", now-trained)
	}

	for _, test := range []struct {
		name   string
		change func(*trellisv1.StudySpec)
	}{
		{"batch-size", func(s *trellisv1.StudySpec) { s.Grid[0].Axes["batch_size"] = integers(32) }},
		{"seed", func(s *trellisv1.StudySpec) { s.Seeds = integers(2) }},
		{"data", func(s *trellisv1.StudySpec) { s.Data = "more-digits" }},
		{"split", func(s *trellisv1.StudySpec) { s.Split.Validation = 64 }},
		{"early-stopping", func(s *trellisv1.StudySpec) { s.EarlyStopping = &trellisv1.EarlyStopping{Patience: 10} }},
		{"fresh", func(*trellisv1.StudySpec) {}},
	} {
		before, changed := l.trained(), proto.CloneOf(spec)
		test.change(changed)
		l.submit(test.name, changed, test.name == "fresh")
		report, _ := l.complete(test.name)
		if trained := l.trained() - before; trained != 12 || report.GetEpochsShared() != 0 || report.GetShared() != 0 {
			t.Errorf("with another %s, %d epochs were trained and %d shared, want 12 and none", test.name, trained,
				report.GetEpochsShared())
		}
		if same := report.GetDigest() == first.GetDigest(); same != (test.name == "fresh") {
			t.Errorf("with another %s, the digest is the same: %v", test.name, same)
		}
	}
}

// A study that is extended by epochs trains the missing ones only, and has the bits of one that was trained in one go.
func TestExtended(t *testing.T) {
	skipRaced(t)
	parallel(t)
	spec := realSpec()
	l := newFleet(t).newLab("coordinator", 2)
	whole := proto.CloneOf(spec)
	whole.Grid[0].Axes["latent_dim"], whole.Grid[0].Axes["max_epochs"] = integers(4, 8, 16), integers(2, 4, 6, 9)
	l.submit("whole", whole, true)
	inOneGo, want := l.complete("whole")

	l.submit("study", spec, true)
	l.complete("study")
	before := l.trained()
	extend := func(request *trellisv1.ExtendStudyRequest, trials, epochs uint64) {
		t.Helper()
		request.Study = "study"
		response, err := l.client.ExtendStudy(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		report, _ := l.complete("study")
		trained := l.trained() - before
		before += trained
		if response.GetTrials() != trials || trained != epochs || report.GetEpochsShared() != 0 {
			t.Errorf("%v: %d trials were added and %d epochs trained, want %d and %d: %v", request,
				response.GetTrials(), trained,
				trials, epochs, report)
		}
	}
	extend(&trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"max_epochs": integers(9)}}, 2, 6)
	extend(&trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"latent_dim": integers(16, 4)}}, 4, 9)
	extended, got := l.complete("study")
	if extended.GetDigest() != inOneGo.GetDigest() {
		t.Errorf("the digest is %s, in one go %s", extended.GetDigest(), inOneGo.GetDigest())
	}
	byPoint := func(a, b *trellisv1.Trial) int {
		return cmp.Or(strings.Compare(a.GetRun(), b.GetRun()),
			cmp.Compare(a.GetParameters().GetMaxEpochs(), b.GetParameters().GetMaxEpochs()))
	}
	slices.SortFunc(got, byPoint)
	slices.SortFunc(want, byPoint)
	l.sameAnswers("extended", got, want)

	// Another study takes over what was trained less far than it asks for, and goes on from there.
	further := proto.CloneOf(spec)
	further.Grid[0].Axes["max_epochs"] = integers(4, 12)
	l.submit("further", further, false)
	report, trials := l.complete("further")
	if trained := l.trained() - before; trained != 6 || report.GetEpochsShared() != 18 || report.GetShared() != 2 {
		t.Errorf("%d epochs were trained, want 6 after 18 that are known: %v", trained, report)
	}
	for i, trial := range trials {
		alone := l.alone(fmt.Sprintf("alone-%d", i), further, trial.GetParameters())
		l.sameAnswers("taken over and trained further", []*trellisv1.Trial{trial}, []*trellisv1.Trial{alone})
	}
}
