package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fuzzTarget is a function for go test -fuzz, and the folder of its package.
type fuzzTarget struct {
	name, folder string
	// seeded says that it has seeds, which are tested as ordinary tests.
	seeded bool
}

// fuzzTargets finds all of them, so that a new one joins by itself.
func fuzzTargets(t *testing.T) []fuzzTarget {
	t.Helper()
	var targets []fuzzTarget
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Recv != nil || !strings.HasPrefix(function.Name.Name, "Fuzz") {
				continue
			}
			target := fuzzTarget{name: function.Name.Name, folder: filepath.Dir(path)}
			ast.Inspect(function.Body, func(node ast.Node) bool {
				if called, ok := node.(*ast.SelectorExpr); ok && called.Sel.Name == "Add" {
					target.seeded = true
				}
				return true
			})
			targets = append(targets, target)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return targets
}

// What comes from outside is fuzzed, from seeds that ordinary tests run.
func TestWhatComesFromOutsideIsFuzzed(t *testing.T) {
	missing := []string{
		"FuzzSession", "FuzzUpload", "FuzzBackup", "FuzzRead", "FuzzRestore", "FuzzPeer", "FuzzURI", "FuzzIDX",
		"FuzzCheckpoint", "FuzzParseSpec", "FuzzSpec", "FuzzFilter", "FuzzNodes", "FuzzParseLine", "FuzzUnpack",
		"FuzzManifest", "FuzzArrays",
	}
	for _, target := range fuzzTargets(t) {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == target.name })
		if !target.seeded {
			t.Errorf("%s in %s has no seeds", target.name, target.folder)
		}
	}
	if len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
}
