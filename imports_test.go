package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goPackage is what go list says of a package.
type goPackage struct {
	Name, ImportPath, Dir string

	Imports []string
	// TestImports and XTestImports are those of _test.go files, in the package and beside it.
	TestImports, XTestImports []string
}

// rooms says which rooms a room sees, besides its own packages. A room is the first part of a package's path in the
// module; main is the module's root. No room may import main, which Go enforces.
var rooms = map[string][]string{
	"main":        {"command"},
	"command":     {"coordinator", "results", "worker", "trainer", "tracing", "proto", "examples", "deploy"},
	"coordinator": {"results", "tracing", "proto"},
	"results":     {"proto"},
	"worker":      {"trainer", "tracing", "proto", "python"},
	"trainer":     {},
	"tracing":     {},
	"proto":       {},
	"examples":    {},
	"deploy":      {},
	"python":      {},
}

// mayImport says which packages of the module a package sees, within its room and outside: one line a package, sorted.
// An arrow that is not here is not drawn by accident.
var mayImport = map[string]string{
	"command":                              "command/answer command/certificates command/cli command/cluster command/configuration command/credentials command/data command/doctor command/exit command/export command/hooks command/launch command/output command/search command/studies trainer worker/supervisor",
	"command/answer":                       "command/cli command/client command/describe command/exit command/model command/output command/spec proto/trellis/v1 results/grid results/lattice results/lifecycle results/pruning",
	"command/certificates":                 "command/cli command/exit coordinator/access proto/trellis/v1",
	"command/chaos":                        "",
	"command/cli":                          "command/client command/configuration command/exit command/output coordinator/access proto/trellis/v1 results/spelling tracing",
	"command/client":                       "command/exit command/output command/spec coordinator/access proto/trellis/v1 results/lifecycle tracing trainer worker/archive worker/dial worker/scratch",
	"command/cluster":                      "command/cli command/client command/configuration command/describe command/exit command/node command/output command/spec coordinator proto/trellis/v1 trainer trainer/kernel worker worker/capacity worker/dial",
	"command/configuration":                "command/exit command/output command/source results/spelling",
	"command/credentials":                  "command/cli command/client command/configuration command/describe command/exit command/output coordinator/access proto/trellis/v1",
	"command/data":                         "command/cli command/exit command/node command/output command/spec trainer/dataset trainer/dataset/source",
	"command/describe":                     "command/output proto/trellis/v1 results/grid results/objective results/pruning",
	"command/doctor":                       "command/cli command/client command/configuration command/exit command/node command/output coordinator proto/trellis/v1 trainer/kernel worker/capacity worker/dial",
	"command/exit":                         "",
	"command/export":                       "command/cli command/client command/exit command/model command/output proto/trellis/v1 results/export results/export/mlflow results/export/tensorboard results/grid results/listing results/trajectory trainer",
	"command/fake":                         "proto/trellis/v1",
	"command/golden":                       "",
	"command/hooks":                        "command/cli command/client command/describe command/exit command/output proto/trellis/v1",
	"command/launch":                       "command/cli command/client command/exit command/output command/spec coordinator/access deploy/slurm proto/trellis/v1 results/resources results/trajectory worker/dial",
	"command/manual":                       "command",
	"command/model":                        "command/client command/onnx proto/trellis/v1 results/trajectory trainer worker",
	"command/mutants":                      "",
	"command/node":                         "command/cli command/client command/configuration command/exit command/output command/source command/spec coordinator coordinator/access coordinator/replication proto/trellis/v1 results/grid results/page tracing trainer trainer/dataset worker worker/scratch",
	"command/onnx":                         "proto/onnx/v1 trainer",
	"command/output":                       "command/exit proto/trellis/v1 results/grid",
	"command/programs":                     "command/cli command/client command/configuration command/describe command/exit command/output command/spec proto/template proto/trellis/v1 results/grid results/lattice results/lifecycle results/spelling results/trajectory worker worker/archive worker/capacity worker/program worker/scratch",
	"command/progress":                     "command/cli command/client command/describe command/output proto/trellis/v1 results/grid results/lifecycle results/trajectory",
	"command/reproduction":                 "proto/trellis/v1 results/figure results/grid results/paper trainer trainer/dataset trainer/latent",
	"command/scale":                        "proto/trellis/v1 results/figure results/grid results/listing trainer",
	"command/search":                       "command/answer command/cli command/client command/configuration command/describe command/exit command/node command/output command/programs command/progress command/reproduction command/spec command/studies examples proto/trellis/v1 results/grid results/lattice results/lifecycle results/paper results/resources results/trajectory trainer trainer/dataset worker worker/capacity",
	"command/source":                       "command/exit command/output",
	"command/spec":                         "command/exit command/output command/reproduction command/source proto/trellis/v1 results/grid results/spelling trainer",
	"command/studies":                      "command/answer command/cli command/client command/describe command/exit command/output command/progress command/spec proto/trellis/v1 results/grid results/lifecycle",
	"coordinator":                          "coordinator/access coordinator/api coordinator/artifact coordinator/connection coordinator/digest coordinator/forecast coordinator/lead coordinator/quota coordinator/replication coordinator/spans coordinator/web coordinator/webhook proto/trellis/v1 results results/grid results/lifecycle results/paper results/spelling results/trajectory tracing",
	"coordinator/access":                   "proto/trellis/v1",
	"coordinator/api":                      "coordinator/access coordinator/artifact coordinator/forecast coordinator/planning coordinator/quota coordinator/replication coordinator/spans coordinator/webhook proto/trellis/v1 results results/catalog results/chart results/grid results/hook results/insight results/lattice results/lifecycle results/listing results/objective results/paper results/resources results/retention results/trajectory",
	"coordinator/artifact":                 "proto/trellis/v1",
	"coordinator/artifact/artifacttest":    "coordinator/artifact proto/trellis/v1",
	"coordinator/connection":               "coordinator/quota proto/trellis/v1",
	"coordinator/digest":                   "proto/trellis/v1 results results/grid results/insight results/lifecycle",
	"coordinator/forecast":                 "proto/trellis/v1 results results/grid results/lattice results/lifecycle results/objective results/pruning results/resources",
	"coordinator/lead":                     "coordinator/access coordinator/artifact coordinator/quota coordinator/spans coordinator/webhook proto/trellis/v1 results results/auditing results/grid results/insight results/lifecycle results/pruning results/resources results/trajectory",
	"coordinator/planning":                 "coordinator/forecast proto/trellis/v1 results results/catalog results/grid results/lattice results/lifecycle results/trajectory",
	"coordinator/quota":                    "",
	"coordinator/replication":              "proto/trellis/v1",
	"coordinator/replication/memnet":       "",
	"coordinator/spans":                    "proto/trellis/v1 results tracing",
	"coordinator/web":                      "coordinator/connection proto/trellis/v1 results/spelling tracing",
	"coordinator/webhook":                  "proto/trellis/v1 results",
	"deploy/slurm":                         "",
	"examples":                             "",
	"main":                                 "command",
	"proto/onnx/v1":                        "",
	"proto/template":                       "proto/trellis/v1",
	"proto/tensorboard/v1":                 "",
	"proto/trellis/v1":                     "",
	"python":                               "",
	"results":                              "proto/trellis/v1 results/account results/auditing results/catalog results/chronicle results/columns results/condition results/consistency results/grid results/hook results/kept results/lattice results/lifecycle results/listing results/objective results/paper results/pruning results/ranking results/resources results/selection results/snapshotfile results/trajectory",
	"results/account":                      "proto/trellis/v1 results/lifecycle results/listing results/trajectory",
	"results/auditing":                     "proto/trellis/v1 results/lifecycle results/resources results/trajectory",
	"results/catalog":                      "proto/trellis/v1 results/lattice results/lifecycle results/listing results/pruning results/trajectory",
	"results/chart":                        "proto/trellis/v1 results results/catalog results/condition results/grid results/lattice results/lifecycle results/listing results/objective results/spelling results/trajectory",
	"results/chronicle":                    "",
	"results/columns":                      "proto/trellis/v1 results/listing",
	"results/condition":                    "results/spelling",
	"results/consistency":                  "proto/trellis/v1 results/auditing results/lifecycle results/snapshotfile results/trajectory",
	"results/export":                       "proto/trellis/v1 results/grid results/lifecycle",
	"results/export/mlflow":                "proto/trellis/v1 results/export results/grid results/lifecycle",
	"results/export/tensorboard":           "proto/tensorboard/v1 proto/trellis/v1 results/export results/grid results/lifecycle",
	"results/figure":                       "",
	"results/grid":                         "proto/template proto/trellis/v1 results/condition results/objective results/pruning results/spelling",
	"results/hook":                         "proto/trellis/v1",
	"results/importance":                   "",
	"results/insight":                      "proto/trellis/v1 results results/columns results/account results/grid results/importance results/kept results/lifecycle results/listing results/objective results/spelling results/statistics results/trajectory",
	"results/kept":                         "",
	"results/packed":                       "",
	"results/lattice":                      "proto/trellis/v1 results/grid",
	"results/lifecycle":                    "proto/trellis/v1",
	"results/listing":                      "proto/trellis/v1 results/condition results/grid results/lattice results/lifecycle results/objective results/spelling",
	"results/objective":                    "proto/trellis/v1",
	"results/paper":                        "proto/trellis/v1",
	"results/page":                         "",
	"results/pruning":                      "proto/trellis/v1 results/objective",
	"results/ranking":                      "results/listing",
	"results/resources":                    "proto/trellis/v1",
	"results/retention":                    "proto/trellis/v1 results results/insight results/trajectory",
	"results/selection":                    "proto/trellis/v1 results/catalog results/columns results/condition results/grid results/kept results/lattice results/listing",
	"results/snapshotfile":                 "",
	"results/spelling":                     "",
	"results/statistics":                   "",
	"results/trajectory":                   "proto/template proto/trellis/v1 results/grid results/lifecycle results/objective results/packed results/pruning",
	"tracing":                              "",
	"trainer":                              "trainer/adam trainer/dataset trainer/kernel trainer/model trainer/model/classifier trainer/model/convautoencoder trainer/model/denoisingautoencoder trainer/model/synthetic trainer/model/variationalautoencoder trainer/network trainer/stream",
	"trainer/adam":                         "trainer/kernel",
	"trainer/dataset":                      "",
	"trainer/dataset/source":               "trainer/dataset",
	"trainer/executor":                     "trainer/kernel trainer/operation",
	"trainer/kernel":                       "",
	"trainer/latent":                       "trainer/stream",
	"trainer/model":                        "trainer/network",
	"trainer/model/classifier":             "trainer/kernel trainer/model trainer/model/convautoencoder trainer/model/denoisingautoencoder trainer/network",
	"trainer/model/convautoencoder":        "trainer/model trainer/network",
	"trainer/model/denoisingautoencoder":   "trainer/model trainer/network",
	"trainer/model/synthetic":              "trainer/model trainer/network trainer/stream",
	"trainer/model/variationalautoencoder": "trainer/kernel trainer/model trainer/network",
	"trainer/network":                      "trainer/executor trainer/kernel trainer/operation trainer/stream",
	"trainer/operation":                    "trainer/kernel",
	"trainer/peers":                        "trainer trainer/dataset trainer/kernel trainer/latent",
	"trainer/stream":                       "trainer/kernel",
	"worker":                               "proto/trellis/v1 python tracing trainer trainer/dataset worker/capacity worker/dial worker/files worker/program worker/scratch worker/spans worker/supervisor",
	"worker/archive":                       "",
	"worker/capacity":                      "proto/trellis/v1",
	"worker/dial":                          "",
	"worker/files":                         "proto/trellis/v1 worker/supervisor",
	"worker/program":                       "proto/template proto/trellis/v1 worker/archive worker/supervisor",
	"worker/scratch":                       "worker/supervisor",
	"worker/spans":                         "proto/trellis/v1 tracing",
	"worker/supervisor":                    "",
}

// testsMayImport says what a package's tests see besides.
var testsMayImport = map[string]string{
	"command":                 "command/client command/fake command/golden command/node command/reproduction command/source command/spec examples proto/trellis/v1 tracing worker",
	"command/answer":          "command/fake command/golden",
	"command/chaos":           "command/fake proto/trellis/v1 results/trajectory trainer trainer/dataset",
	"command/client":          "command/fake results/grid",
	"command/cluster":         "command/fake command/golden coordinator/access",
	"command/describe":        "command/fake command/golden",
	"command/doctor":          "command/fake command/golden coordinator/access",
	"command/onnx":            "trainer/dataset",
	"command/output":          "command/fake command/golden proto/trellis/v1",
	"command/progress":        "command/fake command/golden",
	"command/search":          "command/fake command/golden",
	"command/spec":            "command/fake command/golden results/objective",
	"command/studies":         "command/fake command/golden",
	"coordinator":             "coordinator/artifact/artifacttest coordinator/replication/memnet results/insight results/lattice",
	"coordinator/api":         "coordinator/artifact/artifacttest",
	"coordinator/artifact":    "coordinator/artifact/artifacttest",
	"coordinator/forecast":    "results/grid",
	"coordinator/lead":        "coordinator/artifact/artifacttest coordinator/replication",
	"coordinator/replication": "coordinator/replication/memnet",
	"coordinator/spans":       "results/grid results/trajectory",
	"coordinator/webhook":     "results/hook results/trajectory",
	"results":                 "results/insight",
	"results/insight":         "results/pruning",
	"trainer/executor":        "trainer/stream",
	"trainer/network":         "trainer/adam trainer/dataset",
	"trainer/operation":       "trainer/executor trainer/stream",
	"worker":                  "trainer/kernel trainer/network",
	"worker/program":          "python",
	"results/retention":       "results/chart",
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	command := exec.Command("go", "list", "-json=Name,ImportPath,Dir,Imports,TestImports,XTestImports", "./...")
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p goPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// inModule returns a package's path in this module, "main" for its root, or "" for packages of others.
func inModule(importPath string) string {
	if importPath == "trellis" {
		return "main"
	}
	path, _ := strings.CutPrefix(importPath, "trellis/")
	if path == importPath {
		return ""
	}
	return path
}

// room returns the room of a package of this module, or "" for others.
func room(importPath string) string {
	first, _, _ := strings.Cut(inModule(importPath), "/")
	return first
}

// Rooms import only what they may see.
func TestRooms(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 8 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, p := range packages {
		from := room(p.ImportPath)
		allowed, known := rooms[from]
		if !known {
			t.Errorf("%s belongs to no room: add its imports to the rules, or put it elsewhere", p.ImportPath)
			continue
		}
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if to := room(path); to != "" && to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s, but %s may see %v only", p.ImportPath, path, from, allowed)
			}
		}
	}
}

// Packages import only what the table says, within rooms too.
func TestImports(t *testing.T) {
	found := map[string]bool{}
	for _, p := range listPackages(t) {
		from := inModule(p.ImportPath)
		found[from] = true
		line, known := mayImport[from]
		if !known {
			t.Errorf("%s has no line in mayImport: add what it may import", from)
			continue
		}
		allowed := strings.Fields(line)
		check := func(what string, imports, allowed []string) {
			for _, path := range imports {
				if to := inModule(path); to != "" && !slices.Contains(allowed, to) {
					t.Errorf("%s%s imports %s, which it may not see: turn the arrow round, or add it to the table", from, what, to)
				}
			}
		}
		check("", p.Imports, allowed)
		ofTests := slices.Concat(allowed, strings.Fields(testsMayImport[from]), []string{from})
		check(" (tests)", p.TestImports, ofTests)
		check(" (tests)", p.XTestImports, ofTests)
	}
	for _, table := range []map[string]string{mayImport, testsMayImport} {
		for from, line := range table {
			for _, name := range append(strings.Fields(line), from) {
				if !found[name] {
					t.Errorf("the table names package %s, in the line of %s, which there is not", name, from)
				}
			}
		}
	}
}

// Networks and storage stay out of the rooms that know nothing of them.
func TestTrainerKnowsNoNetwork(t *testing.T) {
	for _, p := range listPackages(t) {
		if room(p.ImportPath) != "trainer" {
			continue
		}
		for _, path := range p.Imports {
			if strings.HasPrefix(path, "google.golang.org/grpc") || strings.HasPrefix(path, "google.golang.org/protobuf") {
				t.Errorf("%s imports %s: the trainer is a library that knows nothing of us", p.ImportPath, path)
			}
		}
	}
}

// Every package says what it is for.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Name == "main" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(p.Dir, "doc.go"))
		if err != nil {
			t.Errorf("%s has no doc.go: %v", p.ImportPath, err)
			continue
		}
		if !bytes.HasPrefix(text, []byte("// Package ")) {
			t.Errorf("doc.go of %s does not begin with what the package is for", p.ImportPath)
		}
	}
}
