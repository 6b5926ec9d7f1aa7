package golden

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

// formats are those that every listing has.
var formats = []string{"table", "json", "yaml", "csv"}

// CheckListing compares what write writes in each of the formats with the files testdata/output/NAME.FORMAT, and checks
// that the same values give the same bytes, which programs can read.
func CheckListing(t *testing.T, name string, write func(format string, out *bytes.Buffer) error) {
	t.Helper()
	for _, format := range formats {
		t.Run(name+"."+format, func(t *testing.T) {
			var out, again bytes.Buffer
			if err := write(format, &out); err != nil {
				t.Fatal(err)
			}
			if err := write(format, &again); err != nil {
				t.Fatal(err)
			}
			if out.String() != again.String() {
				t.Errorf("the same values give other bytes:\n%s\n%s", &out, &again)
			}
			checkReadable(t, format, out.Bytes())
			Check(t, filepath.Join("testdata/output", name+"."+format), out.String())
		})
	}
}

// checkReadable checks that text is one document of its format.
func checkReadable(t *testing.T, format string, text []byte) {
	t.Helper()
	var err error
	switch format {
	case "json":
		var document map[string]any
		err = json.Unmarshal(text, &document)
	case "yaml":
		var document map[string]any
		err = yaml.Unmarshal(text, &document)
	case "csv":
		_, err = csv.NewReader(bytes.NewReader(text)).ReadAll()
	}
	if err != nil {
		t.Errorf("%v in:\n%s", err, text)
	}
}

// Update rewrites the golden files under testdata: go test -run Golden -update .
var Update = flag.Bool("update", false, "rewrite golden files")

// Check compares text with a file, or writes the file.
func Check(t *testing.T, path, text string) {
	t.Helper()
	if *Update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test . -run %s -update", err, t.Name())
	}
	if text != string(want) {
		t.Errorf("%s differs.\ngot:\n%s\nwant:\n%s", path, text, want)
	}
}
