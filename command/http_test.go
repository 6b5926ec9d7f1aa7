package command

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"trellis/command/golden"
)

// httpPage has examples of the API over HTTP.
const httpPage = "../docs/http.md"

// example is a command in an example, with what it writes.
var example = regexp.MustCompile("(?m)^\\$ (curl .*)\n((?:[^`$\n].*\n|\n)*)")

// The examples of the API over HTTP do what the page says. Rewrite what they write with -update.
func TestExamplesOverHTTP(t *testing.T) {
	if help, err := exec.CommandContext(t.Context(), "curl", "--help", "all").Output(); err != nil ||
		!strings.Contains(string(help), "--json") {
		t.Skip("there is no curl with --json")
	}
	page, err := os.ReadFile(httpPage)
	if err != nil {
		t.Fatal(err)
	}
	coordinator, address := startCoordinator(t, "--in-memory", "--http", "127.0.0.1:0")
	link := coordinator.await(t, `^Web page: +(http://\S+)/ `)
	examples := 0
	ran := example.ReplaceAllStringFunc(string(page), func(text string) string {
		examples++
		command := example.FindStringSubmatch(text)[1]
		output, err := exec.CommandContext(t.Context(), "sh", "-c",
			strings.ReplaceAll(command, "http://localhost:8080", link)).Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		if examples == 1 {
			startWorker(t, address, "w1") // Before, the study that it submits could have ended already.
		}
		return "$ " + command + "\n" + string(output)
	})
	if examples < 9 {
		t.Errorf("there are %d examples", examples)
	}
	golden.Check(t, httpPage, ran)
}
