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

// mayImport says which rooms a room sees, besides its own packages. A room is the first part of a package's path in the
// module; main is the module's root. No room may import main, which Go enforces.
var mayImport = map[string][]string{
	"main":        {"command"},
	"command":     {"coordinator", "results", "worker", "trainer", "proto", "examples"},
	"coordinator": {"results", "proto"},
	"results":     {"proto"},
	"worker":      {"trainer", "proto"},
	"trainer":     {},
	"proto":       {},
	"examples":    {},
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

// room returns the room of a package of this module, or "" for others.
func room(importPath string) string {
	if importPath == "trellis" {
		return "main"
	}
	path, ours := strings.CutPrefix(importPath, "trellis/")
	if !ours {
		return ""
	}
	first, _, _ := strings.Cut(path, "/")
	return first
}

// Rooms import only what they may see.
func TestImports(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 8 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, p := range packages {
		from := room(p.ImportPath)
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s belongs to no room: add its imports to the rules, or put it elsewhere", p.ImportPath)
			continue
		}
		check := func(what string, imports, allowed []string) {
			for _, path := range imports {
				if to := room(path); to != "" && to != from && !slices.Contains(allowed, to) {
					t.Errorf("%s%s imports %s, but %s may see %v only", p.ImportPath, what, path, from, allowed)
				}
			}
		}
		check("", p.Imports, allowed)
		check(" (tests)", p.TestImports, allowed)
		check(" (tests)", p.XTestImports, allowed)
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
