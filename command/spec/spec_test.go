package spec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/exit"
	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
	"trellis/command/source"
	trellisv1 "trellis/proto/trellis/v1"
)

// Every invalid spec in testdata/spec is refused with the text beside it.
func TestGoldenSpecErrors(t *testing.T) {
	paths, err := filepath.Glob("testdata/spec/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range paths {
		if strings.HasSuffix(path, ".txt") {
			continue
		}
		seen++
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := Parse(filepath.Base(path), data)
			if err == nil {
				t.Fatalf("accepted as %v", spec)
			}
			if code := exit.Code(err); code != exit.Usage {
				t.Errorf("exit code %d, want %d", code, exit.Usage)
			}
			golden.Check(t, path+".txt", err.Error()+"\n")
		})
	}
	if seen < 25 {
		t.Errorf("found %d specs in testdata/spec, want 25 or more", seen)
	}
}

func TestExamplesAreValid(t *testing.T) {
	paths := fake.ExampleStudies(t)
	files, err := ReadAll(paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		if want := strings.TrimSuffix(filepath.Base(paths[i]), ".yaml"); file.Spec.GetName() != want {
			t.Errorf("%s names its study %q, want %q", paths[i], file.Spec.GetName(), want)
		}
	}
}

// The short forms mean what their long forms mean.
func TestShortForms(t *testing.T) {
	const head = "name: short\nmodel: synthetic\n"
	long := `
grid:
  - latent_dim: {values: [16]}
    learning_rate: {values: [0.001]}
    weight_decay: {log10: {from: 1e-6, to: 1e-4, count: 3}}
    max_epochs: {values: [10, 20]}
seeds: {values: [7]}
batch_size: {values: [64, 128]}
`
	tests := []struct{ name, text string }{
		{"lists and values", head + `
grid:
  latent_dim: 16
  learning_rate: 1e-3
  weight_decay: {log10: {from: 1e-6, to: 1e-4, count: 3}}
  max_epochs: [10, 20]
seeds: 7
batch_size: [64, 128]
`},
		{"grid in a list", head + `
grid:
  - latent_dim: [16]
    learning_rate: [1.0e-3]
    weight_decay: {log10: {from: 0.000001, to: 0.0001, count: 3}}
    max_epochs: [10, 20]
seeds: [7]
batch_size: [64, 128]
`},
		{"JSON with tabs", "{\n\t\"name\": \"short\", \"model\": \"synthetic\",\n\t\"grid\": {\"latent_dim\": 16, " +
			"\"learning_rate\": [0.001], \"weight_decay\": {\"log10\": {\"from\": 1e-6, \"to\": 1e-4, \"count\": " +
			"3}},\n\t" +
			"\"max_epochs\": [10, 20]}, \"seeds\": [7], \"batchSize\": [64, 128]\n}\n"},
		{"CRLF", strings.ReplaceAll(head+long, "\n", "\r\n")},
	}
	want, err := Parse("long.yaml", []byte(head+long))
	if err != nil {
		t.Fatal(err)
	}
	if want.GetGrid()[0].GetAxes()["latent_dim"].GetValues()[0].GetInteger() != 16 {
		t.Fatalf("read %v", want)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.name, []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestReadSpec(t *testing.T) {
	const valid = "name: a\nmodel: synthetic\ngrid: {latent_dim: 1, learning_rate: 1, max_epochs: 1}\n"
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const (
		tooLarge = "up to 1 MiB"
		did      = `did you mean "model"?`
	)
	fill := func(size int) string { return valid + "#" + strings.Repeat("x", size-len(valid)-1) }
	tests := []struct {
		name, stdin string
		paths       []string
		want        string
	}{
		{name: "file", paths: []string{write("valid", valid)}},
		{name: "standard input", stdin: valid, paths: []string{"-"}},
		{name: "no file", paths: []string{filepath.Join(dir, "nosuch")}, want: "no such file"},
		{name: "folder", paths: []string{dir}, want: "is a directory"},
		{name: "as large as may be", paths: []string{write("full", fill(maxSpecSize))}},
		{name: "too large", paths: []string{write("large", fill(maxSpecSize+1))}, want: tooLarge},
		{name: "same name twice", paths: []string{write("a", valid), write("b", valid)}, want: `both have a study named "a"`},
		{name: "all problems at once", paths: []string{write("c", "nam: c"), write("d", "modl: c")}, want: did},
		{name: "binary", paths: []string{write("binary", "\x00\x01\x02\xff")}, want: "not valid YAML"},
		{name: "deep", paths: []string{write("deep", strings.Repeat("[", 100_000))}, want: "not valid YAML"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadAll(test.paths, strings.NewReader(test.stdin))
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got %v, want %q in it", err, test.want)
			case test.want != "" && exit.Code(err) != exit.Usage:
				t.Errorf("exit code %d, want %d", exit.Code(err), exit.Usage)
			}
		})
	}
}

// However a spec is damaged, reading it ends with a spec or with an error, and every position lies in the file.
func FuzzParseSpec(f *testing.F) {
	for _, pattern := range []string{"../../examples/*.yaml", "testdata/spec/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	// What ends a line in YAML 1.1, in JSON, in an editor and in Go are four things.
	const broken = "name: x\nmodel: synthetic\ngrid: {latent_dim: 4, learning_rate: 0, max_epochs: 2}\nnaem: y\n"
	for _, lineBreak := range []string{"\r", "\r\n", "\n\r", "\u0085", "\u2028", "\u2029"} {
		f.Add([]byte(strings.ReplaceAll(broken, "\n", lineBreak)))
		f.Add([]byte("# a comment" + lineBreak + "goes on\n" + broken))
	}
	f.Add([]byte("name: x\n\tmodel: y\n"))
	// A mistake at the end of a line that fits is quoted with the whole line.
	f.Add([]byte("e {latent_dim: [8, 16], learning_rate: 1e-3, max_epochs: 50}, or a list of t\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Parse("fuzz.yaml", data)
		if err == nil {
			if err := Models().Validate(spec); err != nil {
				t.Fatalf("accepted an invalid spec: %v", err)
			}
			checkWritten(t, spec)
			return
		}
		var invalid *source.Error
		if !errors.As(err, &invalid) {
			t.Fatalf("got %T: %v", err, err)
		}
		checkPositions(t, data, invalid)
	})
}

// checkWritten wants that a spec can be written as YAML, and is the same when that is read.
func checkWritten(t *testing.T, spec *trellisv1.StudySpec) {
	t.Helper()
	var written bytes.Buffer
	if err := output.WriteMessage(&written, output.YAML, spec); err != nil {
		t.Fatal(err)
	}
	again, err := Parse("written.yaml", written.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, &written)
	}
	if !proto.Equal(again, spec) {
		t.Errorf("got %v, want %v, written as\n%s", again, spec, &written)
	}
}

var (
	// editorBreaks end a line in an editor.
	editorBreaks = regexp.MustCompile("\r\n|\r|\n")
	// oneSpace are the breaks of YAML 1.1 that are none, as they are quoted.
	oneSpace = strings.NewReplacer("\u0085", " ", "\u2028", " ", "\u2029", " ", "\t", " ", "\ufeff", "")
)

// checkPositions checks that every problem lies in a line of data, at one of its characters or right behind them, and that
// this line is the one that is quoted.
func checkPositions(t *testing.T, data []byte, invalid *source.Error) {
	t.Helper()
	text := invalid.Error()
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return // UTF-16: TestLineBreaks.
	}
	lines := editorBreaks.Split(string(data), -1)
	for i, problem := range invalid.Problems() {
		if problem.Message == "" || problem.Line < 0 || problem.Line > len(lines) {
			t.Fatalf("problem %+v in %d lines", problem, len(lines))
		}
		if problem.Line == 0 {
			if !strings.Contains(problem.Message, "the spec is empty") {
				t.Errorf("%+v says nowhere", problem)
			}
			continue
		}
		// What is no UTF-8 is quoted as U+FFFD.
		line := string([]rune(oneSpace.Replace(lines[problem.Line-1])))
		if problem.Column > utf8.RuneCountInString(line)+1 {
			t.Errorf("column %d of %q: %s", problem.Column, line, problem.Message)
		}
		quoted := fmt.Sprintf("%5d | %s", problem.Line, strings.TrimRight(line, " "))
		if len(line) < 100 && i < 20 && strings.TrimRight(line, " ") != "" && !strings.Contains(text, quoted) {
			t.Errorf("no %q in\n%s", quoted, text)
		}
	}
}

// Whatever ends its lines, a broken rule is told of in the line where an editor shows it.
func TestLineBreaks(t *testing.T) {
	const text = "# a comment%swith more\nname: x\nmodel: synthetic\ngrid: {latent_dim: 4, learning_rate: 0, max_epochs: 2}\n"
	const want = "x.yaml:4:38: "
	for name, data := range map[string]string{
		"LF":                         fmt.Sprintf(text, ""),
		"CR":                         strings.ReplaceAll(fmt.Sprintf(text, ""), "\n", "\r"),
		"CRLF":                       strings.ReplaceAll(fmt.Sprintf(text, ""), "\n", "\r\n"),
		"next line in a comment":     fmt.Sprintf(text, strings.Repeat("\u0085", 9)),
		"line separators":            fmt.Sprintf(text, "\u2028"),
		"paragraph separators":       fmt.Sprintf(text, strings.Repeat("\u2029", 3)),
		"byte order mark":            "\ufeff" + fmt.Sprintf(text, ""),
		"UTF-16, little end first":   inUTF16(fmt.Sprintf(text, "\u0a0a"), binary.LittleEndian),
		"UTF-16, big end first, CRs": inUTF16(strings.ReplaceAll(fmt.Sprintf(text, ""), "\n", "\r"), binary.BigEndian),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(data))
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "\n    4 | grid: {latent_dim: 4,") {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

// inUTF16 is text as Windows writes it.
func inUTF16(text string, order binary.ByteOrder) string {
	var data []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		data = append(data, 0, 0)
		order.PutUint16(data[len(data)-2:], unit)
	}
	return string(data)
}

// What the parser says in its own terms is said in those of who has written the text.
func TestSyntax(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"name: x\ngrid:\n\tlatent_dim: 4\n", "x.yaml:3:1: line 3 is indented with a tab: YAML requires spaces\n    3 |  latent_dim: 4"},
		{"name: x\ngrid:\n  \tlatent_dim: 4\n", "x.yaml:3:3: line 3 is indented with a tab: YAML requires spaces"},
		{"\tname: x\n", "x.yaml:1:1: line 1 is indented with a tab: YAML requires spaces"},
		{"grid:\n  latent_dim: 1\n\tlearning_rate: 2\n", "x.yaml:3:1: line 3 is indented with a tab: YAML requires spaces"},
		{"name: |\n\tx\n", "x.yaml:2:1: line 2 is indented with a tab: YAML requires spaces"},
		{"name: @x\n", "x.yaml:1: this is not valid YAML: a value that begins with %, @ or ` needs quotes\n    1 | name: @x"},
		{"name: x\n# \xc3(\n", "x.yaml:2:3: this is not valid YAML: byte 0xc3 is not UTF-8"},
		{"name: x\nmodel: \x00\n", "x.yaml:2:8: this is not valid YAML: control character U+0000"},
		{"name: [x\n", "x.yaml:1: this is not valid YAML: did not find expected ',' or ']'"},
	} {
		if _, err := Parse("x.yaml", []byte(test.text)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q: got %v\nwant %s", test.text, err, test.want)
		}
	}
}

// However many problems a spec has, the first few are listed.
func TestManyProblems(t *testing.T) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "learning_rat%d: 1\n", i)
	}
	_, err := Parse("many.yaml", []byte(text.String()))
	if err == nil || !strings.HasSuffix(err.Error(), "\nmany.yaml: and 19980 problems more") ||
		len(err.Error()) > 7000 {
		t.Errorf("got %v", err)
	}
}

// The size of a grid is checked without expanding it.
func TestHugeGridIsRefusedAtOnce(t *testing.T) {
	data, err := os.ReadFile("testdata/spec/huge_grid.yaml")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = Parse("huge_grid.yaml", data)
	elapsed := time.Since(start)
	if err == nil || !strings.Contains(err.Error(), "1,000,000,000,000 points") {
		t.Fatalf("got %v", err)
	}
	fmt.Fprintf(t.Output(), "a grid of 10^12 points was refused in %v\n", elapsed)
	if elapsed > 5*time.Second {
		t.Errorf("it took %v", elapsed)
	}
}

// How an order and a budget are written, and the order of a study that gives none.
func TestOrderAndBudget(t *testing.T) {
	const longest, random, asWritten = trellisv1.Order_ORDER_LONGEST, trellisv1.Order_ORDER_RANDOM, trellisv1.Order_ORDER_AS_WRITTEN
	for text, want := range map[string]*trellisv1.StudySpec{
		"":                                      {},
		"order: longest":                        {Order: longest},
		"order: random":                         {Order: random},
		"order: as-written":                     {Order: asWritten},
		"order: ORDER_RANDOM":                   {Order: random},
		"pruning: asha":                         {Order: random},
		"budget: {trials: 500}":                 {Order: random, Budget: &trellisv1.Budget{Trials: 500}},
		"budget: {epochs: 2e4}\norder: longest": {Order: longest, Budget: &trellisv1.Budget{Epochs: 20_000}},
		"budget: {trials: 5, time: 8h}":         {Order: random, Budget: &trellisv1.Budget{Trials: 5, Time: durationpb.New(8 * time.Hour)}},
	} {
		spec, err := Parse("spec.yaml", []byte("name: good\nmodel: synthetic\n"+
			"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 40}\n"+text+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := Models().WithDefaults(spec)
		if got.Order != want.Order || !proto.Equal(got.Budget, want.Budget) {
			t.Errorf("%s: got %v and %v, want %v and %v", text, got.Order, got.Budget, want.Order, want.Budget)
		}
		// A study that prunes may be older than its order.
		if text == "pruning: asha" {
			if names := differences(spec, got); len(names) > 0 {
				t.Errorf("a new study differs in %v", names)
			}
			if got.Order = 0; len(differences(spec, got)) > 0 {
				t.Errorf("an older study differs in %v", differences(spec, got))
			}
		}
	}
}
