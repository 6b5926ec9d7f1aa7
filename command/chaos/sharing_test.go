package chaos

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// lab is a coordinator with workers that count the epochs which they train.
type lab struct {
	*fleet
	client      *client
	coordinator *process
	workers     []*process
	// metrics is where each worker serves what it counts.
	metrics []string
}

// newLab starts a coordinator and workers of one slot each.
func (f *fleet) newLab(name string, workers int, workerArgs ...string) *lab {
	f.Helper()
	coordinator := f.newCoordinator(name, "--lease", lease().String(), "--checkpoint-interval", "20ms",
		"--data-sets", f.digits())
	l := &lab{fleet: f, client: newClient(f.T, coordinator.address), coordinator: coordinator}
	coordinator.startServing(l.client)
	for range workers {
		l.startWorker(workerArgs...)
	}
	f.awaitWorkers(l.client, workers)
	return l
}

// digits writes two data sets, "few-digits" and "more-digits", which are the first images of MNIST, and returns their folder.
func (f *fleet) digits() (dir string) {
	f.Helper()
	dir = filepath.Join(f.dir, "data-sets")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	library := &dataset.Library{CacheDir: f.dir}
	mnist, err := library.Find(f.Context(), dataset.MNIST)
	if err != nil {
		f.Fatal(err)
	}
	for name, images := range map[string]int{"few-digits": 400, "more-digits": 500} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			f.Fatal(err)
		}
		for i, file := range mnist.Files {
			if err := os.WriteFile(filepath.Join(dir, name, dataset.FileNames[i]), firstOf(f, mnist, file, images), 0o600); err != nil {
				f.Fatal(err)
			}
		}
	}
	return dir
}

// firstOf is an IDX file with the first images or labels of another, up to 60,000: see the package dataset.
func firstOf(f *fleet, set *dataset.Set, file dataset.File, count int) []byte {
	f.Helper()
	content, err := set.Open(file.SHA256)
	if err != nil {
		f.Fatal(err)
	}
	defer content.Close()
	data, err := io.ReadAll(content)
	if err != nil {
		f.Fatal(err)
	}
	header, size := 8, 1
	if data[3] == 3 {
		header, size = 16, 28*28
	}
	data[6], data[7] = byte(count>>8), byte(count)
	return data[:header+count*size]
}

func (l *lab) startWorker(args ...string) *process {
	l.Helper()
	metrics := freeAddress(l.T, "127.0.0.1")
	name := fmt.Sprintf("%s-worker-%d", l.coordinator.name, len(l.workers)+1)
	worker := l.newWorker(name, l.coordinator.address, append([]string{"--slots", "1", "--metrics", metrics}, args...)...)
	l.workers, l.metrics = append(l.workers, worker), append(l.metrics, metrics)
	worker.start()
	return worker
}

// stopAll ends the lab's processes.
func (l *lab) stopAll() {
	l.Helper()
	for _, worker := range l.workers {
		if worker.process != nil {
			worker.stop()
		}
	}
	l.coordinator.stop()
}

// submit creates a study under a name.
func (l *lab) submit(name string, spec *trellisv1.StudySpec, fresh bool) {
	l.Helper()
	spec = proto.CloneOf(spec)
	spec.Name = name
	if _, err := l.client.CreateStudy(l.Context(), &trellisv1.CreateStudyRequest{Spec: spec, Fresh: fresh}); err != nil {
		l.Fatal(err)
	}
}

// complete waits for the end of a study and returns the report on it and its trials.
func (l *lab) complete(name string) (*trellisv1.Report, []*trellisv1.Trial) {
	l.Helper()
	if err := l.client.watch(l.Context(), name, 0, func(*trellisv1.WatchStudyResponse) error { return nil }); err != nil {
		l.Fatal(err)
	}
	report := l.report(name)
	progress := report.GetStudy().GetProgress()
	if report.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED || answered(report) != progress.GetTrials() {
		l.Fatalf("study %s has not been answered: %v", name, report)
	}
	trials, err := l.client.listTrials(l.Context(), name)
	if err != nil {
		l.Fatal(err)
	}
	return report, trials
}

func (l *lab) report(name string) *trellisv1.Report {
	l.Helper()
	response, err := l.client.GetReport(l.Context(), &trellisv1.GetReportRequest{Study: name})
	if err != nil {
		l.Fatal(err)
	}
	return response.GetReport()
}

// answered is how many trials a report counts as answered.
func answered(r *trellisv1.Report) uint64 {
	return r.GetTrained() + r.GetPrefixes() + r.GetEarlyStopped() + r.GetCollapsed() + r.GetShared()
}

// trained is how many epochs the workers that still live have trained, by their own count.
func (l *lab) trained() (epochs uint64) {
	l.Helper()
	for i, address := range l.metrics {
		if l.workers[i].process != nil {
			epochs += l.metric(address, "trellis_worker_epochs_total")
		}
	}
	return epochs
}

// metric reads a counter.
func (l *lab) metric(address, name string) uint64 {
	l.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: callTimeout}
	response, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		l.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				l.Fatal(err)
			}
			return uint64(value)
		}
	}
	l.Fatalf("the metrics have no %s: %v", name, lines.Err())
	return 0
}

// alone trains a trial by itself, in a study of its own that takes nothing over.
func (l *lab) alone(name string, spec *trellisv1.StudySpec, p *trellisv1.Parameters) *trellisv1.Trial {
	l.Helper()
	spec = proto.CloneOf(spec)
	spec.Grid = []*trellisv1.Grid{{
		LatentDim: integers(p.GetLatentDim()), LearningRate: values(p.GetLearningRate()),
		WeightDecay: values(p.GetWeightDecay()), MaxEpochs: integers(p.GetMaxEpochs()),
	}}
	spec.BatchSize, spec.Seeds = integers(p.GetBatchSize()), integers(p.GetSeed())
	l.submit(name, spec, true)
	_, trials := l.complete(name)
	if len(trials) != 1 {
		l.Fatalf("one point has %d trials", len(trials))
	}
	return trials[0]
}

// sameAnswers checks that trials, index by index, have given the same, bit for bit, in whatever studies.
func (l *lab) sameAnswers(what string, got, want []*trellisv1.Trial) {
	l.Helper()
	if len(got) != len(want) {
		l.Errorf("%s: %d trials, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if answerBytes(l.T, got[i]) != answerBytes(l.T, want[i]) {
			l.Errorf("%s: trial %d differs:\n got %v\nwant %v", what, i, got[i], want[i])
		}
	}
}

// answerBytes is all that a trial says but which one of its study it is.
func answerBytes(t *testing.T, trial *trellisv1.Trial) string {
	t.Helper()
	trial = proto.CloneOf(trial)
	trial.Study, trial.Index = "", 0
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(trial)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// realSpec is a small study of the real network: two runs for six trials.
func realSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Model: trainer.ConvAutoencoder, Data: "few-digits",
		Grid: []*trellisv1.Grid{{
			LatentDim: integers(4, 8), LearningRate: values(1e-3), WeightDecay: values(1e-5), MaxEpochs: integers(2, 4, 6),
		}},
		BatchSize: integers(64),
		Split:     &trellisv1.Split{Train: 256, Validation: 128},
	}
}

// Trials that differ in their maximum of epochs alone are answered by one run. Each is bit for bit what it is by itself, and
// what is saved is what they would have taken by themselves.
func TestOneRunForManyTrials(t *testing.T) {
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
		t.Errorf("half of the epochs were saved: %v s of training saved %v s", report.GetSecondsTrained(), report.GetSecondsSaved())
	}
}

// Once a run has ended by itself, all trials that ask for more epochs are answered by it without any training: each is what
// it is by itself.
func TestEarlyStopCollapse(t *testing.T) {
	stopsEarly := realSpec()
	stopsEarly.Grid[0].MaxEpochs = integers(2, 7, 8, 9)
	stopsEarly.EarlyStopping = &trellisv1.EarlyStopping{Patience: 2, MinDelta: 0.02}
	diverges := synthetic("", 0, &trellisv1.Grid{
		LatentDim: integers(16), LearningRate: values(1e-2, 0.25), MaxEpochs: integers(3, 30, 40, 50, 60),
	})
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
			t.Errorf("%s: %d epochs were trained, want %d, and %d alone: %v", test.name, trained, epochs, epochsAlone, report)
		}
		if report.GetEarlyStopped() != early || report.GetCollapsed() != collapsed || collapsed < 4 {
			t.Errorf("%s: want %d trials that stopped early and %d, 4 or more, answered with them: %v", test.name, early, collapsed,
				report)
		}
		t.Logf("%s: of %d trials, %d were answered without training: %d epochs instead of %d", test.name, len(trials),
			collapsed, epochs, epochsAlone)
	}
}
