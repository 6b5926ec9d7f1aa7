package command

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metricPattern matches the names of our metrics.
var metricPattern = regexp.MustCompile(`\btrellis_[a-z_]+\b`)

// metricsInCode are the metrics that coordinators and workers have: their names are written out, in quotes.
func metricsInCode(t *testing.T) map[string]bool {
	t.Helper()
	quoted := regexp.MustCompile(`"(trellis_[a-z_]+)"`)
	names := map[string]bool{}
	for _, folder := range []string{"../coordinator", "../worker"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, match := range quoted.FindAllSubmatch(source, -1) {
				names[string(match[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// Every metric is documented, and the documentation and the alerts name no others.
func TestMetricsAreDocumented(t *testing.T) {
	names := metricsInCode(t)
	for _, file := range []string{
		"../docs/metrics.md", "../deploy/prometheus/alerts.yaml", "../deploy/grafana/search.json", "../deploy/grafana/cluster.json",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := map[string]bool{}
		for _, name := range metricPattern.FindAllString(string(text), -1) {
			said[name] = true
			if !names[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
		if strings.HasSuffix(file, ".md") {
			for _, name := range slices.Sorted(maps.Keys(names)) {
				if !said[name] {
					t.Errorf("%s does not have %s", file, name)
				}
			}
		}
	}
}

// Each alert fires in a test of its own and is quiet in one, and promtool finds the tests right where it is installed.
func TestAlerts(t *testing.T) {
	const folder = "../deploy/prometheus"
	read := func(name string, into any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	var alerts struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	read("alerts.yaml", &alerts)
	var tests struct {
		Tests []struct {
			Cases []struct {
				Alert    string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	read("alerts_test.yaml", &tests)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, one := range test.Cases {
			if len(one.Expected) > 0 {
				fires[one.Alert] = true
			} else {
				quiet[one.Alert] = true
			}
		}
	}
	if len(alerts.Groups) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			if !fires[rule.Alert] || !quiet[rule.Alert] {
				t.Errorf("%s has no test in which it fires, or none in which it is quiet", rule.Alert)
			}
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	command := exec.CommandContext(t.Context(), promtool, "test", "rules", "alerts_test.yaml")
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
