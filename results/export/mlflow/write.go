package mlflow

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/export"
	"trellis/results/grid"
	"trellis/results/lifecycle"
)

// Codes of MLflow's for the states of runs, and for where they come from.
const (
	running  = 1
	finished = 3
	failed   = 4
	killed   = 5

	local = 4
)

// Config says what to write.
type Config struct {
	// Folder is where the store is written, and Final the absolute path that it will have: MLflow keeps that of files.
	Folder, Final string
	Study         *trellisv1.Study
	Spool         *export.Spool
	// User is who created the study.
	User string
	// Best is the best trial, nil if there is none. Its run is given the files, by their paths below the run's artifacts.
	Best  *trellisv1.Trial
	Files map[string][]byte
	// Checkpoint, if not nil, writes the best trial's checkpoint into a folder, which is there.
	Checkpoint func(folder string) error
}

// Write writes a store. Times in it are when the study was created, and the worker time of the epochs until then, of
// which all of a run are taken to last equally long. Ids follow from the study's name and the trials' indices.
func Write(config Config) error {
	w := &writer{
		Config: config, id: experimentID(config.Study.GetName()), created: config.Study.GetCreateTime().AsTime(),
	}
	names := []string{"objective"}
	if w.Spool.HasLosses() {
		names = append(names, "train_loss", "validation_loss", "test_loss")
	}
	for _, name := range w.Spool.ByEpoch() {
		names = append(names, free(names, name))
		w.byEpoch = append(w.byEpoch, names[len(names)-1])
	}
	for _, name := range w.Spool.TestMetrics() {
		names = append(names, free(names, "test_"+name))
		w.tests = append(w.tests, names[len(names)-1])
	}
	w.files = fileNames(names)
	// MLflow expects these two.
	for _, folder := range []string{".trash", w.id} {
		if err := os.MkdirAll(filepath.Join(w.Folder, folder), 0o777); err != nil {
			return err
		}
	}
	if err := w.experiment(); err != nil {
		return err
	}
	for row, err := range w.Spool.Rows() {
		if err != nil {
			return err
		}
		if err := w.run(row); err != nil {
			return fmt.Errorf("trial %d: %w", row.Trial.GetIndex(), err)
		}
	}
	return nil
}

type writer struct {
	Config
	// id is the experiment's.
	id      string
	created time.Time
	// byEpoch and tests are the names that the model's or program's metrics are given, in the order of the spool's, and
	// files the names of all metrics as MLflow knows them.
	byEpoch, tests []string
	files          map[string]string
}

// free is a name for a metric that no other has: names of metrics come after ours.
func free(taken []string, name string) string {
	for slices.Contains(taken, name) {
		name = "metric_" + name
	}
	return name
}

// experimentID has 18 digits, as MLflow's own.
func experimentID(study string) string {
	sum := sha256.Sum256([]byte("trellis study " + study))
	return strconv.FormatUint(1e17+binary.BigEndian.Uint64(sum[:])%9e17, 10)
}

// RunID is the id of a trial's run: 32 hexadecimal digits.
func RunID(study string, trial uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "trellis study %s trial %d", study, trial))
	return hex.EncodeToString(sum[:16])
}

// uri is that of a path in the store.
func (w *writer) uri(parts ...string) string {
	path := filepath.ToSlash(filepath.Join(append([]string{w.Final}, parts...)...))
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // A drive of Windows.
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// experiment writes that of the study.
func (w *writer) experiment() error {
	created, folder := w.created.UnixMilli(), filepath.Join(w.Folder, w.id)
	if err := writeMeta(folder, []entry{
		{"artifact_location", w.uri(w.id)},
		{"creation_time", created},
		{"experiment_id", w.id},
		{"last_update_time", created},
		{"lifecycle_stage", "active"},
		{"name", w.Study.GetName()},
	}); err != nil {
		return err
	}
	// MLflow 3 then shows it as training, and not as something with language models.
	return writeFile(filepath.Join(folder, "tags", "mlflow.experimentKind"), []byte("custom_model_development"))
}

// run writes that of a trial.
func (w *writer) run(row export.Row) error {
	trial := row.Trial
	id := RunID(w.Study.GetName(), trial.GetIndex())
	folder := filepath.Join(w.Folder, w.id, id)
	for _, name := range []string{"artifacts", "metrics", "params", "tags"} {
		if err := os.MkdirAll(filepath.Join(folder, name), 0o777); err != nil {
			return err
		}
	}
	perEpoch := 0.0
	if epochs := row.Run.GetEpochs(); epochs > 0 {
		perEpoch = 1e3 * (row.Run.GetTrainingSeconds() + row.Run.GetSharedSeconds()) / float64(epochs)
	}
	at := func(epoch uint32) int64 { return w.created.UnixMilli() + int64(math.Round(perEpoch*float64(epoch))) }
	status, ended := finished, any(at(trial.GetEpochs()))
	switch trial.GetState() {
	case lifecycle.TrialPending, lifecycle.TrialRunning:
		status, ended = running, nil
	case lifecycle.TrialFailed, lifecycle.TrialDiverged:
		status = failed
	case lifecycle.TrialCanceled, lifecycle.TrialPruned:
		status = killed
	}
	name := fmt.Sprintf("trial-%d", trial.GetIndex())
	if err := writeMeta(folder, []entry{
		{"artifact_uri", w.uri(w.id, id, "artifacts")},
		{"deleted_time", nil},
		{"end_time", ended},
		{"entry_point_name", ""},
		{"experiment_id", w.id},
		{"lifecycle_stage", "active"},
		{"run_id", id},
		{"run_name", name},
		{"run_uuid", id},
		{"source_name", ""},
		{"source_type", local},
		{"source_version", ""},
		{"start_time", w.created.UnixMilli()},
		{"status", status},
		{"tags", []string{}},
		{"user_id", w.User},
	}); err != nil {
		return err
	}
	if err := w.texts(folder, name, row); err != nil {
		return err
	}
	if err := w.metrics(folder, trial, at); err != nil {
		return err
	}
	if !w.isBest(trial) {
		return nil
	}
	for path, data := range w.Files {
		if err := writeFile(filepath.Join(folder, "artifacts", filepath.FromSlash(path)), data); err != nil {
			return err
		}
	}
	if w.Checkpoint == nil {
		return nil
	}
	folder = filepath.Join(folder, "artifacts", "checkpoint")
	if err := os.Mkdir(folder, 0o777); err != nil {
		return err
	}
	return w.Checkpoint(folder)
}

func (w *writer) isBest(trial *trellisv1.Trial) bool {
	return w.Best != nil && w.Best.GetIndex() == trial.GetIndex()
}

// texts writes a run's parameters and tags.
func (w *writer) texts(folder, name string, row export.Row) error {
	parameters := map[string]string{grid.Seed: strconv.FormatUint(uint64(row.Trial.GetParameters().GetSeed()), 10)}
	for _, its := range w.Spool.Parameters() {
		if value := grid.Value(row.Trial.GetParameters(), its.Name); value != nil {
			parameters[its.Name] = value.Written()
		}
	}
	tags := map[string]string{
		"mlflow.runName": name, "mlflow.user": w.User, "mlflow.source.name": "trellis",
		"trellis.study": w.Study.GetName(), "trellis.trial": strconv.FormatUint(row.Trial.GetIndex(), 10),
		"trellis.run": row.Trial.GetRun(), "trellis.state": lifecycle.Name(row.Trial.GetState()),
		"trellis.stop_reason": export.StopReason(row), "trellis.worker": export.Worker(row),
		"trellis.error": row.Trial.GetError(),
	}
	if w.isBest(row.Trial) {
		tags["trellis.best"] = "true"
	}
	for of, values := range map[string]map[string]string{"params": parameters, "tags": tags} {
		for name, value := range values {
			if value == "" && of == "tags" {
				continue
			}
			if err := writeFile(filepath.Join(folder, of, name), []byte(value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// metrics writes a run's losses and metrics: a line for each value, with its time in milliseconds and its epoch.
func (w *writer) metrics(folder string, trial *trellisv1.Trial, at func(uint32) int64) error {
	write := func(name string, lines []byte) error {
		if len(lines) == 0 {
			return nil
		}
		return writeFile(filepath.Join(folder, "metrics", filepath.FromSlash(w.files[name])), lines)
	}
	one := func(name string, value float64) error {
		return write(name, line(nil, at(trial.GetEpochs()), value, trial.GetBestEpoch()))
	}
	losses := w.Spool.HasLosses()
	all := export.ValuesOf(trial, losses, w.Spool.ByEpoch())
	own := len(all) - len(w.byEpoch) // The losses.
	var lines []byte
	for i, its := range all {
		lines = lines[:0]
		for epoch := range trial.GetEpochs() {
			if value, ok := its.At(epoch); ok {
				lines = line(lines, at(epoch+1), value, epoch+1)
			}
		}
		name := its.Name
		if i >= own {
			name = w.byEpoch[i-own]
		}
		if err := write(name, lines); err != nil {
			return err
		}
	}
	if trial.Objective != nil {
		if err := one("objective", trial.GetObjective()); err != nil {
			return err
		}
	}
	if trial.TestLoss != nil && losses {
		if err := one("test_loss", trial.GetTestLoss()); err != nil {
			return err
		}
	}
	for i, name := range w.Spool.TestMetrics() {
		if value, ok := trial.GetTestMetrics()[name]; ok {
			if err := one(w.tests[i], value); err != nil {
				return err
			}
		}
	}
	return nil
}

// line is a value as MLflow keeps it.
func line(lines []byte, at int64, value float64, step uint32) []byte {
	lines = append(strconv.AppendInt(lines, at, 10), ' ')
	lines = append(strconv.AppendFloat(lines, value, 'g', -1, 64), ' ')
	return append(strconv.AppendUint(lines, uint64(step), 10), '\n')
}

// writeFile writes a file, and the folders that it is in.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o666)
}

// entry is a key of a meta.yaml with its value.
type entry struct {
	key   string
	value any
}

// quoted is a text as JSON and YAML have it.
func quoted(text string) string {
	data, _ := json.Marshal(text) // A text can always be written.
	return string(data)
}

// writeMeta writes a meta.yaml. Texts are quoted as JSON does it, which is YAML too.
func writeMeta(folder string, entries []entry) error {
	var out bytes.Buffer
	for _, its := range entries {
		switch value := its.value.(type) {
		case nil:
			fmt.Fprintf(&out, "%s: null\n", its.key)
		case string:
			fmt.Fprintf(&out, "%s: %s\n", its.key, quoted(value))
		case []string:
			fmt.Fprintf(&out, "%s: []\n", its.key)
		default:
			fmt.Fprintf(&out, "%s: %v\n", its.key, value)
		}
	}
	return writeFile(filepath.Join(folder, "meta.yaml"), out.Bytes())
}
