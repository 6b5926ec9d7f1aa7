package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

	"trellis/command/golden"
)

const chart = "../deploy/helm/trellis"

// chartSchema is what we use of JSON Schema.
type chartSchema struct {
	Description, Type, Pattern string
	MinLength                  int
	Minimum                    *float64
	Enum                       []any
	Properties                 map[string]*chartSchema
	Items                      *chartSchema
	// Additional is false, or a schema.
	Additional json.RawMessage `json:"additionalProperties"`
}

// closed says whether the schema refuses keys that it does not name.
func (s *chartSchema) closed() bool { return string(s.Additional) == "false" }

func readChartSchema(t *testing.T) *chartSchema {
	t.Helper()
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema := new(chartSchema)
	if err := json.Unmarshal(text, schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

func readChartValues(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return values
}

// chartOption is one option with its default.
type chartOption struct {
	path, description string
	value             any
}

// chartOptions lists what the schema has and values.yaml sets. Both have the same.
func chartOptions(t *testing.T, at string, schema *chartSchema, values map[string]any) (options []chartOption) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if schema.Properties[key] == nil {
			t.Errorf("values.yaml has %s, which the schema does not know", at+key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
		path, option := at+key, schema.Properties[key]
		value, ok := values[key]
		if path == "global" {
			continue // Helm itself adds it.
		}
		if !ok {
			t.Errorf("values.yaml does not have %s", path)
		}
		if inner, ok := value.(map[string]any); ok && option.Properties != nil {
			if !option.closed() {
				t.Errorf("the schema takes any key in %s", path)
			}
			options = append(options, chartOptions(t, path+".", option, inner)...)
			continue
		}
		if option.Description == "" || option.Type == "" {
			t.Errorf("the schema does not say what %s is", path)
		}
		options = append(options, chartOption{path, option.Description, value})
	}
	return options
}

const optionsBegin, optionsEnd = "<!-- options: begin -->\n", "<!-- options: end -->\n"

// The schema, values.yaml and the README have the same options.
func TestChartOptions(t *testing.T) {
	schema := readChartSchema(t)
	if !schema.closed() {
		t.Error("the schema takes any key")
	}
	options := chartOptions(t, "", schema, readChartValues(t, chart+"/values.yaml"))
	if len(options) < 50 {
		t.Fatalf("found %d options", len(options))
	}
	table := "| option | default | meaning |\n|---|---|---|\n"
	for _, option := range options {
		value, err := json.Marshal(option.value)
		if err != nil {
			t.Fatal(err)
		}
		table += fmt.Sprintf("| `%s` | `%s` | %s |\n", option.path, value, option.description)
	}
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(readme), optionsBegin)
	said, after, ended := strings.Cut(rest, optionsEnd)
	if !found || !ended {
		t.Fatal("the README has no place for the options")
	}
	if said == table {
		return
	}
	if !*golden.Update {
		t.Fatal("the options in the chart's README.md are not those of its schema: go test ./command -run ChartOptions -update")
	}
	if err := os.WriteFile(chart+"/README.md", []byte(before+optionsBegin+table+optionsEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// chartCases are the sets of values with which the chart is tested.
func chartCases(t *testing.T) []string {
	t.Helper()
	cases, err := filepath.Glob(chart + "/ci/*-values.yaml")
	if err != nil || len(cases) < 4 {
		t.Fatalf("found the cases %v: %v", cases, err)
	}
	return cases
}

// Each option is set in one of the cases, so that it is rendered there.
func TestChartCasesHaveAllOptions(t *testing.T) {
	set := map[string]bool{}
	var visit func(string, map[string]any)
	visit = func(at string, values map[string]any) {
		for key, value := range values {
			set[at+key] = true
			inner, ok := value.(map[string]any)
			if !ok {
				continue
			}
			if at == "workers.pools." {
				visit("workers.defaults.", inner)
			} else {
				visit(at+key+".", inner)
			}
		}
	}
	for _, path := range chartCases(t) {
		visit("", readChartValues(t, path))
	}
	for _, option := range chartOptions(t, "", readChartSchema(t), readChartValues(t, chart+"/values.yaml")) {
		if !set[option.path] {
			t.Errorf("no case in %s/ci sets %s", chart, option.path)
		}
	}
}

// Templates use no options that there are not: Helm takes those for empty.
func TestChartTemplatesUseOptions(t *testing.T) {
	known := map[string]bool{}
	for _, option := range chartOptions(t, "", readChartSchema(t), readChartValues(t, chart+"/values.yaml")) {
		for at := option.path; at != "."; at = strings.TrimSuffix(at, filepath.Ext(at)) {
			known[at] = true
			if !strings.Contains(at, ".") {
				break
			}
		}
	}
	used := 0
	err := filepath.WalkDir(chart+"/templates", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`\.Values\.([A-Za-z.]+)`).FindAllSubmatch(text, -1) {
			used++
			if name := strings.TrimSuffix(string(match[1]), "."); !known[name] {
				t.Errorf("%s uses the option %s, which there is not", path, name)
			}
		}
		return err
	})
	if err != nil || used < 20 {
		t.Errorf("found %d options in templates: %v", used, err)
	}
}

// helm runs helm on the chart, or skips the test where it is not installed.
func helm(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	path, err := exec.LookPath("helm")
	if err != nil {
		t.Skip("helm is not installed: https://helm.sh/docs/intro/install")
	}
	command := exec.CommandContext(t.Context(), path, args...)
	folder := t.TempDir()
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+folder, "HELM_CONFIG_HOME="+folder, "HELM_DATA_HOME="+folder)
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return out.String() + said.String(), err
	}
	return out.String(), nil
}

// manifest is what the tests look at of what the chart makes.
type manifest struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		Replicas *int
		Strategy struct {
			RollingUpdate map[string]int
		}
		Groups   []any
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				EnableServiceLinks, AutomountServiceAccountToken *bool
				Grace                                            int `json:"terminationGracePeriodSeconds"`
				SecurityContext                                  map[string]any
				Containers                                       []struct {
					Image           string
					Command, Args   []string
					SecurityContext map[string]any
					Mounts          []struct{ MountPath string } `json:"volumeMounts"`
				}
			}
		}
	}
}

// What the chart makes has command lines that we understand, and pods that fit the restricted profile.
func TestChart(t *testing.T) {
	for _, path := range chartCases(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			if output, err := helm(t, "lint", "--strict", "--values", path, chart); err != nil {
				t.Errorf("lint: %v\n%s", err, output)
			}
			output, err := helm(t, "template", "trellis", chart, "--namespace", "studies", "--values", path)
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			checkManifests(t, output)
		})
	}
}

func checkManifests(t *testing.T, text string) {
	t.Helper()
	count := map[string]int{}
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document any
		if err := decoder.Decode(&document); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		content, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var made manifest
		if err := json.Unmarshal(content, &made); err != nil {
			t.Fatalf("%v in\n%s", err, content)
		}
		count[made.Kind]++
		if made.Kind == "PrometheusRule" && len(made.Spec.Groups) == 0 {
			t.Error("the PrometheusRule has no rules")
		}
		if surge, ok := made.Spec.Strategy.RollingUpdate["maxSurge"]; made.Kind == "Deployment" && (!ok || surge != 0) {
			t.Errorf("%s can't be upgraded where its pods have all cores or GPUs of their machines", made.Metadata.Name)
		}
		pod := made.Spec.Template.Spec
		for _, container := range pod.Containers {
			count["container"]++
			if container.Command[0] != "/trellis" || container.Args[0] != "coordinator" && container.Args[0] != "worker" {
				t.Errorf("%s runs %q %q", made.Metadata.Name, container.Command, container.Args)
			}
			checkCommandLine(t, container.Args)
			said, err := json.Marshal([]any{pod.SecurityContext, container.SecurityContext})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{
				`"runAsNonRoot":true`, `"seccompProfile":{"type":"RuntimeDefault"}`, `"allowPrivilegeEscalation":false`,
				`"capabilities":{"drop":["ALL"]}`, `"readOnlyRootFilesystem":true`,
			} {
				if !bytes.Contains(said, []byte(want)) {
					t.Errorf("%s does not have %s: %s", made.Metadata.Name, want, said)
				}
			}
			for _, arg := range container.Args {
				var drain int
				if _, err := fmt.Sscanf(arg, "--drain-timeout=%ds", &drain); err == nil && drain >= pod.Grace {
					t.Errorf("%s is killed after %d s, and drains for %d s", made.Metadata.Name, pod.Grace, drain)
				}
				// What the container writes, it writes to a volume.
				if folder, ok := strings.CutPrefix(arg, "--data="); ok && !slices.ContainsFunc(container.Mounts,
					func(mount struct{ MountPath string }) bool { return strings.HasPrefix(folder, mount.MountPath+"/") }) {
					t.Errorf("%s keeps its data in %s, outside of its volumes", made.Metadata.Name, folder)
				}
			}
			if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
				t.Errorf("%s gets variables of services, which Trellis takes for settings", made.Metadata.Name)
			}
		}
	}
	if count["StatefulSet"] != 1 || count["Deployment"] < 1 || count["container"] != 1+count["Deployment"] {
		t.Errorf("the chart has made %v", count)
	}
}

// What does not go together is refused, and the error says what would be right.
func TestChartRefuses(t *testing.T) {
	const token = "tls.secret=a,workers.tokenSecret=b"
	for _, test := range []struct{ set, want string }{
		{"", "set exactly one of tls.secret"},
		{"insecure=true,tls.secret=a", "set exactly one of tls.secret"},
		{"tls.secret=a", "workers need workers.tokenSecret or workers.certificateSecret"},
		{token + ",workers.certificateSecret=c", "set one of workers.tokenSecret and"},
		{"insecure=true,coordinator.replicas=3", "three coordinators need one place for checkpoints"},
		{"insecure=true,coordinator.replicas=2", "replicas"},
		{"insecure=true,coordinator.artifacts.url=s3://a,coordinator.artifacts.claim=b", "set one of coordinator.artifacts.url"},
		{"insecure=true,ingress.enabled=true,ingress.host=a.org", "ingress needs TLS and tokens"},
		{token + ",ingress.enabled=true", "ingress needs ingress.host"},
		{token + ",ingress.enabled=true,ingress.host=a.org", "keeps the ingress controller out: set networkPolicy.from"},
		{"insecure=true,monitoring.podMonitors=true", "monitoring.podMonitors: the network policy keeps Prometheus out"},
		{"insecure=true,monitoring.rules=true", "monitoring.rules: the network policy keeps Prometheus out"},
		{"insecure=true,autoscaling.prometheus=http://a", "set networkPolicy.metricsFrom to its pods"},
		{"insecure=true,workers.pools.spot.autoscaling.enabled=true", "workers.pools.spot: autoscaling needs slots"},
		{
			"insecure=true,workers.pools.spot.slots=1,workers.pools.spot.autoscaling.enabled=true",
			"autoscaling needs autoscaling.prometheus",
		},
		{"insecure=true,replicas=3", "replicas"},
		{"insecure=true,workers.pools.cpu.replica=3", "replica"},
		{"insecure=true,workers.pools.CPU.replicas=3", "CPU"},
		{"insecure=true,coordinator.storage.size=much", "size"},
		{"insecure=true,workers.pools.cpu.labels.gpu=a b", "gpu"},
		{"insecure=true,workers.pools.cpu.labels.g:=a", "g:"},
	} {
		t.Run(test.set, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, "template", "trellis", chart, "--set", test.set)
			if err == nil || !strings.Contains(output, test.want) {
				t.Errorf("%v: %s, want an error with %q", err, output, test.want)
			}
		})
	}
}

// What may be set once nothing keeps it from working.
func TestChartAccepts(t *testing.T) {
	const open, ingress = "networkPolicy.enabled=false", "tls.secret=a,workers.tokenSecret=b,ingress.enabled=true,ingress.host=a.org"
	for _, set := range []string{
		"insecure=true,monitoring.podMonitors=true,monitoring.rules=true,autoscaling.prometheus=http://a," + open,
		"insecure=true,monitoring.podMonitors=true,networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b",
		ingress + "," + open,
		ingress + ",networkPolicy.from[0].podSelector.matchLabels.a=b",
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, "template", "trellis", chart, "--set", set)
			if err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			checkManifests(t, output)
		})
	}
}

// A release of a name with which Kubernetes could not make a pod is refused.
func TestChartNames(t *testing.T) {
	for _, test := range []struct{ release, pool, want string }{
		{"1", "2", ""},
		{strings.Repeat("a", 32), strings.Repeat("p", 15), ""},
		{strings.Repeat("a", 33), "p", "the release's name is too long"},
		{"trellis" + strings.Repeat("a", 33), "p", ""},
		{"trellis" + strings.Repeat("a", 34), "p", "the release's name is too long"},
		{strings.Repeat("a", 32), strings.Repeat("p", 16), "workers.pools." + strings.Repeat("p", 16) + ": the name is too long"},
	} {
		t.Run(test.release+" "+test.pool, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, "template", test.release, chart, "--set", "insecure=true,workers.pools."+test.pool+".replicas=2")
			switch {
			case test.want == "" && err != nil:
				t.Fatalf("%v: %s", err, output)
			case test.want == "":
				checkManifests(t, output)
			case err == nil || !strings.Contains(output, test.want):
				t.Errorf("%v: %s, want an error with %q", err, output, test.want)
			}
		})
	}
}

// The values that the README shows are accepted.
func TestChartReadme(t *testing.T) {
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(examples) == 0 {
		t.Fatal("the README shows no values")
	}
	for _, example := range examples {
		values := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(values, example[1], 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := helm(t, "template", "trellis", chart, "--values", values)
		if err != nil {
			t.Fatalf("%v: %s\n%s", err, output, example[1])
		}
		checkManifests(t, output)
	}
}
