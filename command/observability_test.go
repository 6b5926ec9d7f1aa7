package command

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trellis/command/fake"
)

const alertRules = "../deploy/prometheus/alerts.yaml"

// prometheus is a Prometheus that scrapes what a test starts.
type prometheus struct{ address string }

// startPrometheus starts one that has our alerts, with seconds instead of minutes and hours.
func startPrometheus(t *testing.T, coordinator string, workers ...string) prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("Prometheus is not installed: apt-get install prometheus")
	}
	folder := t.TempDir()
	rules, err := os.ReadFile(alertRules)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`\[\d+[mh]\]`, "[15s]"}, {`offset \d+m`, "offset 5s"}, {`for: \d+[mh]`, "for: 1s"}, {`keep_firing_for: .*`, ""},
	} {
		rules = regexp.MustCompile(change[0]).ReplaceAll(rules, []byte(change[1]))
	}
	quoted, err := json.Marshal(workers)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yaml]\n"+
		"scrape_configs:\n  - {job_name: trellis, static_configs: [{targets: [%q]}]}\n"+
		"  - {job_name: trellis-workers, static_configs: [{targets: %s}]}\n", coordinator, quoted)
	for name, content := range map[string][]byte{"alerts.yaml": rules, "prometheus.yml": []byte(config)} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := prometheus{fake.FreeAddress(t)}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "--config.file", filepath.Join(folder, "prometheus.yml"), "--storage.tsdb.path",
		filepath.Join(folder, "data"), "--web.listen-address", p.address)
	command.Stderr = log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Prometheus said:\n%s", text)
		}
	})
	await(t, "Prometheus to be ready", func() string {
		response, err := http.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return response.Status
		}
		return ""
	})
	return p
}

// await waits until nothing is missing any more.
func await(t *testing.T, what string, missing func() string) {
	t.Helper()
	for until := time.Now().Add(2 * patience); ; time.Sleep(250 * time.Millisecond) {
		still := missing()
		if still == "" {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("waited for %s: %s", what, still)
		}
	}
}

// query returns the values of the series that a query finds.
func (p prometheus) query(t *testing.T, query string) (values []string, err error) {
	t.Helper()
	var data struct{ Result []struct{ Value [2]any } }
	err = p.get(t, "query?query="+url.QueryEscape(query), &data)
	for _, series := range data.Result {
		values = append(values, fmt.Sprint(series.Value[1]))
	}
	return values, err
}

// get asks for a path of the API.
func (p prometheus) get(t *testing.T, path string, into any) error {
	t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// awaitAlerts waits until the alerts fire, all at the same time, and notes them.
func (p prometheus) awaitAlerts(t *testing.T, fired map[string]bool, names ...string) {
	t.Helper()
	await(t, "alerts "+strings.Join(names, ", "), func() string {
		var data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
		if err := p.get(t, "alerts", &data); err != nil {
			return err.Error()
		}
		firing := map[string]bool{}
		for _, alert := range data.Alerts {
			if alert.State == "firing" {
				firing[alert.Labels["alertname"]], fired[alert.Labels["alertname"]] = true, true
			}
		}
		for _, name := range names {
			if !firing[name] {
				return fmt.Sprintf("%s does not fire, only %v", name, slices.Sorted(maps.Keys(firing)))
			}
		}
		return ""
	})
	t.Log("fires:", strings.Join(names, ", "))
}

// queries are those of a dashboard's panels, by title and letter.
func queries(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	found := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			found[panel.Title+" "+target.RefID] = strings.ReplaceAll(target.Expr, "$__rate_interval", "15s")
		}
	}
	if len(found) < 12 {
		t.Fatalf("%s has %d queries", file, len(found))
	}
	return found
}

// awaitPanels waits until every query of the dashboards returns a number. What is a rate of something needs two scrapes of it.
func (p prometheus) awaitPanels(t *testing.T) {
	t.Helper()
	for _, file := range []string{"../deploy/grafana/search.json", "../deploy/grafana/cluster.json"} {
		left := queries(t, file)
		all := len(left)
		await(t, "all panels of "+file, func() string {
			for title, query := range left {
				values, err := p.query(t, query)
				if err != nil {
					t.Fatalf("%s of %s: %v", title, file, err)
				}
				if slices.ContainsFunc(values, func(value string) bool { return value != "NaN" }) {
					delete(left, title)
					t.Logf("%s: %s: %d series", filepath.Base(file), title, len(values))
				}
			}
			return strings.Join(slices.Sorted(maps.Keys(left)), ", ")
		})
		t.Logf("%s: all %d queries return data", file, all)
	}
}

// smallDisk is a folder on a disk of its own, if this user may mount one.
func smallDisk(t *testing.T) (folder string, small bool) {
	t.Helper()
	folder = t.TempDir()
	if exec.Command("mount", "-t", "tmpfs", "-o", "size=200m", "trellis", folder).Run() != nil {
		t.Log("this user can't mount a small disk: no disk runs short")
		return folder, false
	}
	t.Cleanup(func() { exec.Command("umount", folder).Run() })
	return folder, true
}

// fill writes a file of so many bytes to a small disk.
func fill(t *testing.T, folder string, size int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "big"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

// alerts are the names of all alerts.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	rules, err := os.ReadFile(alertRules)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		names = append(names, string(match[1]))
	}
	if len(names) < 10 {
		t.Fatalf("found the alerts %v", names)
	}
	return names
}

// On a live cluster, every panel of the dashboards shows data, and what alerts are about makes them fire.
func TestObservability(t *testing.T) {
	if os.Getenv("TRELLIS_OBSERVABILITY") == "" {
		t.Skip("run by make check-observability")
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusInternalServerError)
	}))
	defer receiver.Close()
	metrics, trainer, runner := fake.FreeAddress(t), fake.FreeAddress(t), fake.FreeAddress(t)
	data, small := smallDisk(t)
	artifacts, _ := smallDisk(t)
	coordinator, address := startCoordinator(t, "--data", data, "--artifacts", artifacts, "--metrics", metrics, "--lease", "2s")
	p := startPrometheus(t, metrics, trainer, runner)
	fired := map[string]bool{}
	at := func(args ...string) []string { return append(args, "--coordinator", address) }

	mustTrellis(t, at("hooks", "create", "deaf", "--url", receiver.URL, "--file", filepath.Join(t.TempDir(), "secret"))...)
	spec := writeSpec(t, "name: search\nmodel: synthetic\nsynthetic: {epoch_time: 200ms}\n"+
		"grid: {latent_dim: {linear: {from: 1, to: 40, count: 40}}, learning_rate: 1e-3, max_epochs: 10}\n")
	await(t, "Prometheus to have seen an empty queue", func() string {
		values, err := p.query(t, `trellis_runs{state="pending"}`)
		if len(values) == 1 && values[0] == "0" {
			return ""
		}
		return fmt.Sprint(values, err)
	})
	mustTrellis(t, at("submit", spec)...)
	p.awaitAlerts(t, fired, "TrellisNoWorkers", "TrellisQueueGrowing")

	first := startWorker(t, address, "first", "--metrics", trainer, "--slots", "2")
	if _, _, code := trellis(t, at("study", "none")...); code == 0 {
		t.Fatal("there is a study that was not submitted")
	}
	calls := make(chan struct{})
	defer func() { <-calls }()
	asking, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { // As people look at a study. One of them mistypes its name.
		defer close(calls)
		for asking.Err() == nil {
			trellis(t, at("best", "search")...)
			trellis(t, at("study", "none")...)
		}
	}()
	p.awaitPanels(t)
	stop()

	mustTrellis(t, at("cancel", "search")...)
	p.awaitAlerts(t, fired, "TrellisHooksRefused")
	failing := writeSpec(t, "name: failing\nprogram: {command: ['false']}\nobjective: {metric: acc}\ngrid: {lr: 1, max_epochs: 1}\n")
	mustTrellis(t, at("submit", failing)...)
	p.awaitAlerts(t, fired, "TrellisNothingGranted")
	for _, args := range [][]string{{"--metrics", runner}, nil, nil} { // It is to fail on several machines.
		startWorker(t, address, "runner", append(args, "--programs")...)
	}
	p.awaitAlerts(t, fired, "TrellisRunsFailing")
	if small {
		fill(t, artifacts, 190<<20)
		saving := writeSpec(t, "name: saving\nprogram: {command: [sh, -c, 'mkdir c && echo 1 >c/w && "+
			`echo "{{\"epoch\": 1, \"acc\": 1, \"checkpoint\": \"c\"}}" >>"$TRELLIS_REPORTS"`+"']}\n"+
			"objective: {metric: acc}\ngrid: {lr: {linear: {from: 1, to: 9, count: 9}}, max_epochs: 1}\n")
		mustTrellis(t, at("submit", saving)...)
		p.awaitAlerts(t, fired, "TrellisCheckpointsNotUploaded")
	}
	first.signal(t, syscall.SIGKILL)
	p.awaitAlerts(t, fired, "TrellisWorkersLost")
	if small {
		fill(t, data, 155<<20)
		p.awaitAlerts(t, fired, "TrellisDiskShort")
	}
	coordinator.signal(t, syscall.SIGKILL)
	p.awaitAlerts(t, fired, "TrellisNoLeader", "TrellisNodeNotReady")
	for _, alert := range alerts(t) {
		if small && !fired[alert] {
			t.Errorf("%s has not fired", alert)
		}
	}
	t.Log("fired:", slices.Sorted(maps.Keys(fired)))
}
