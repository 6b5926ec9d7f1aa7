package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/command/source"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// problemsOf returns the problems that a status tells, and how many there are.
func problemsOf(t *testing.T, err error) (told []*trellisv1.TextProblem, total int) {
	t.Helper()
	if status.Code(err) != codes.InvalidArgument {
		t.Fatalf("got %v", err)
	}
	for _, detail := range status.Convert(err).Details() {
		if problems, ok := detail.(*trellisv1.TextProblems); ok {
			return problems.GetProblems(), int(problems.GetTotal())
		}
	}
	t.Fatalf("%v has no problems", err)
	return nil, 0
}

// What is wrong with a text is what is wrong with the file that has it, at the same places.
func TestTextsAsFiles(t *testing.T) {
	for name, text := range map[string]string{
		"misspelt keys":  "nam: a\nmodle: synthetic\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}\n",
		"a bad value":    "name: a\nmodel: synthetic\ngrid:\n  latent_dim: [4, many]\n  learning_rate: 1e-3\n  max_epochs: 2\n",
		"a broken rule":  "name: A b\nmodel: synthetic\ngrid: {latent_dim: 4, learning_rate: -1, max_epochs: 2}\n",
		"no YAML":        "name: a\n\tmodel: b\n",
		"nothing at all": "\n",
	} {
		path := filepath.Join(t.TempDir(), "spec.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := spec.Read(path, nil)
		wanted, ok := errors.AsType[*source.Error](err)
		if !ok {
			t.Fatalf("%s: the file: %v", name, err)
		}
		_, err = specs{}.Read(text)
		told, total := problemsOf(t, err)
		if total != len(wanted.Problems()) {
			t.Errorf("%s: %d problems, and %d of the file", name, total, len(wanted.Problems()))
		}
		for i, want := range wanted.Problems() {
			if got := told[i]; int(got.GetLine()) != want.Line || int(got.GetColumn()) != want.Column || got.GetMessage() != want.Message {
				t.Errorf("%s: got %v, and %+v of the file", name, got, want)
			}
		}
		if want := strings.ReplaceAll(wanted.Error(), path, specName); status.Convert(err).Message() != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, status.Convert(err).Message(), want)
		}
	}
}

// The folder of a program's files is on another machine, and what has been sent before is not.
func TestTextsNameNoFolders(t *testing.T) {
	text := "name: a\nprogram:\n  command: [python3, train.py]\n  files: %s\nobjective: {metric: x, direction: minimize}\ngrid: {lr: [1, 2]}\n"
	_, err := specs{}.Read(fmt.Sprintf(text, "."))
	told, _ := problemsOf(t, err)
	if len(told) != 1 || told[0].GetLine() != 4 || told[0].GetColumn() != 10 || !strings.Contains(told[0].GetMessage(), "trellis submit") {
		t.Errorf("got %v", told)
	}
	digest := strings.Repeat("12", 32)
	read, err := specs{}.Read(fmt.Sprintf(text, "{sha256: "+digest+"}"))
	if err != nil || read.GetProgram().GetFiles().GetSha256() != digest {
		t.Errorf("got %v, %v", read, err)
	}
}

// A rule that a coordinator finds broken is shown where the text breaks it. Other errors stay as they are.
func TestPlaces(t *testing.T) {
	text := "name: a\nmodel: conv-autoencoder\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}\ndata: nowhere\n"
	told, _ := problemsOf(t, specs{}.Place(text, grid.Refuse("data.unknown", "there is no such data set", "data")))
	if len(told) != 1 || told[0].GetLine() != 4 || told[0].GetMessage() != "there is no such data set" {
		t.Errorf("got %v", told)
	}
	if full := errors.New("the disk is full"); !errors.Is(specs{}.Place(text, full), full) {
		t.Error("another error is another one afterwards")
	}
}

// What is told of a text of any size fits in headers.
func TestManyProblems(t *testing.T) {
	var manyKeys strings.Builder
	for i := range 400 {
		fmt.Fprintf(&manyKeys, "%s%d: 1\n", strings.Repeat("k", 900), i)
	}
	_, err := specs{}.Read(manyKeys.String())
	told, total := problemsOf(t, err)
	if len(told) != toldProblems || total < 400 {
		t.Errorf("%d of %d problems", len(told), total)
	}
	if size := proto.Size(status.Convert(err).Proto()); size > 12<<10 {
		t.Errorf("they have %d bytes", size)
	}
	if _, err := (specs{}).Read(strings.Repeat("#", 1<<20+1)); err == nil {
		t.Error("a text of more than 1 MiB was read")
	}
}

// The text of a study's spec is the spec again once it is read, and says nothing that is the default.
func TestTextOfStudies(t *testing.T) {
	paths, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d examples: %v", len(paths), err)
	}
	checked := 0
	for _, path := range paths {
		read, err := spec.Read(path, nil)
		if err != nil {
			continue // It is of a reproduction.
		}
		checked++
		full := spec.Models().WithDefaults(read.Spec)
		text, err := specs{}.Write(full)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		again, err := specs{}.Read(text)
		if err != nil {
			t.Errorf("%s: %v in\n%s", path, err, text)
		} else if !proto.Equal(spec.Models().WithDefaults(again), full) {
			t.Errorf("%s: written as\n%s", path, text)
		}
		if strings.Contains(text, "batch_size: 256") || strings.Contains(text, "seeds: [1]\n") {
			t.Errorf("%s: what is the default is written:\n%s", path, text)
		}
	}
	if checked < 4 {
		t.Errorf("%d examples were checked", checked)
	}
}
