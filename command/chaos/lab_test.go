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

	"trellis/command/fake"
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

// digits writes two data sets, "few-digits" and "more-digits", which are the first images of MNIST, and returns their
// folder.
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
			if err := os.WriteFile(filepath.Join(dir, name, dataset.FileNames[i]), firstOf(f, mnist, file, images),
				0o600); err != nil {
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
	metrics := fake.FreeAddress(l.T)
	name := fmt.Sprintf("%s-worker-%d", l.coordinator.name, len(l.workers)+1)
	worker := l.newWorker(name, l.coordinator.address,
		append([]string{"--slots", "1", "--metrics", metrics}, args...)...)
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
func (l *lab) submit(name string, spec *trellisv1.StudySpec, fresh bool) *trellisv1.Study {
	l.Helper()
	spec = proto.CloneOf(spec)
	spec.Name = name
	response, err := l.client.CreateStudy(l.Context(), &trellisv1.CreateStudyRequest{Spec: spec, Fresh: fresh})
	if err != nil {
		l.Fatal(err)
	}
	return response.GetStudy()
}

// complete waits for the end of a study and returns the report on it and its trials.
func (l *lab) complete(name string) (*trellisv1.Report, []*trellisv1.Trial) {
	l.Helper()
	if err := l.client.watch(l.Context(), name, 0,
		func(*trellisv1.WatchStudyResponse) error { return nil }); err != nil {
		l.Fatal(err)
	}
	report := l.report(name)
	progress := report.GetStudy().GetProgress()
	if report.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
		answered(report) != progress.GetTrials() {
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
	spec.Grid = []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    integers(uint32(p.Numeric("latent_dim"))),
		"learning_rate": values(p.Numeric("learning_rate")),
		"weight_decay":  values(p.Numeric("weight_decay")),
		"max_epochs":    integers(p.GetMaxEpochs()), "batch_size": integers(uint32(p.Numeric("batch_size"))),
	}}}
	spec.Seeds = integers(p.GetSeed())
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
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    integers(4, 8),
			"learning_rate": values(1e-3),
			"weight_decay":  values(1e-5),
			"max_epochs":    integers(2, 4, 6),
			"batch_size":    integers(64),
		}}},
		Split: &trellisv1.Split{Train: 256, Validation: 128},
	}
}
