package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestContributingNamesWhatIsThere: every path and every make target that CONTRIBUTING.md names exists.
func TestContributingNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	paths := 0
	for _, match := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(text), -1) {
		name := match[1]
		if target, ok := strings.CutPrefix(name, "make "); ok {
			if !strings.Contains(string(makefile), "\n"+target+":") {
				t.Errorf("there is no target %s", target)
			}
			continue
		}
		room, _, ok := strings.Cut(name, "/")
		if _, err := os.Stat(room); !ok || err != nil || strings.Contains(name, " ") {
			continue // No path.
		}
		paths++
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	if paths < 20 {
		t.Errorf("only %d paths are named", paths)
	}
}
