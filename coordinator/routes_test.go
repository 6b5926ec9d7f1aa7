package coordinator

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

var update = flag.Bool("update", false, "write the access matrix to docs/security.md")

// The documentation has the table by which calls are admitted.
func TestAccessMatrixIsDocumented(t *testing.T) {
	const page, begin, end = "../docs/security.md", "<!-- access matrix: begin -->\n", "<!-- access matrix: end -->"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the matrix", page)
	}
	want := before + begin + accessMatrix() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(data) != want {
		t.Errorf("%s is not current: run go test ./coordinator -run AccessMatrix -update", page)
	}
}

// accessMatrix is the table of methods in Markdown.
func accessMatrix() string {
	columns := []trellisv1.Role{
		trellisv1.Role_ROLE_UNSPECIFIED, trellisv1.Role_ROLE_VIEWER, trellisv1.Role_ROLE_SUBMITTER,
		trellisv1.Role_ROLE_ADMIN, trellisv1.Role_ROLE_WORKER, trellisv1.Role_ROLE_NODE,
	}
	var text strings.Builder
	text.WriteString("| service | method | anyone |")
	for _, role := range columns[1:] {
		fmt.Fprintf(&text, " %s |", access.RoleName(role))
	}
	text.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, method := range methods {
		service, name, _ := strings.Cut(strings.TrimPrefix(method.name, "/"), "/")
		service = strings.TrimPrefix(service, "trellis.v1.")
		fmt.Fprintf(&text, "| %s | %s |", service, name)
		for _, role := range columns {
			may := ""
			switch {
			case method.own && role == trellisv1.Role_ROLE_SUBMITTER:
				may = "its own"
			case method.may.has(role):
				may = "yes"
			}
			fmt.Fprintf(&text, " %s |", may)
		}
		text.WriteString("\n")
	}
	return text.String()
}
