package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"trellis/command/exit"
	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// maxSpecSize bounds a spec file, in bytes.
const maxSpecSize = 1 << 20

// ReadAll reads one spec per path and checks that no two of them have the same name. It reads all of them before it
// returns, so that nothing has begun when the last one turns out to be invalid.
func ReadAll(paths []string, stdin io.Reader) ([]*trellisv1.StudySpec, error) {
	specs := make([]*trellisv1.StudySpec, 0, len(paths))
	from := make(map[string]string)
	var problems []error
	for _, path := range paths {
		spec, err := Read(path, stdin)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if other, ok := from[spec.GetName()]; ok {
			problems = append(problems, exit.Usagef("%s and %s both name their study %q: a study's name is its id, so each "+
				"needs its own", other, path, spec.GetName()))
		}
		from[spec.GetName()] = path
		specs = append(specs, spec)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return specs, nil
}

// Read reads a study's spec from a file, or from stdin if path is "-". What is wrong with its content is returned
// as a *Error.
func Read(path string, stdin io.Reader) (*trellisv1.StudySpec, error) {
	path, data, err := ReadFile(path, stdin)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// ReadFile returns the content of a file, or of stdin if path is "-", and what to call it.
func ReadFile(path string, stdin io.Reader) (name string, data []byte, err error) {
	in := stdin
	if path == "-" {
		path = "<stdin>"
	} else {
		file, err := os.Open(path)
		if err != nil {
			return "", nil, exit.Usagef("cannot read the spec: %w", err)
		}
		defer file.Close()
		in = file
	}
	data, err = io.ReadAll(io.LimitReader(in, maxSpecSize+1))
	if err != nil {
		return "", nil, exit.Usagef("cannot read the spec: %w", err)
	}
	if len(data) > maxSpecSize {
		return "", nil, exit.Usagef("%s is larger than a spec may be: at most 1 MiB", path)
	}
	return path, data, nil
}

// Parse reads a study's spec that is valid for the models of this binary.
func Parse(path string, data []byte) (*trellisv1.StudySpec, error) {
	return parseFor(Models(), path, data)
}

// parseFor is Parse for given models.
func parseFor(models grid.Models, path string, data []byte) (*trellisv1.StudySpec, error) {
	spec := new(trellisv1.StudySpec)
	if err := ParseInto(models, path, data, spec); err != nil {
		return nil, err
	}
	return spec, nil
}

// ParseInto reads YAML, or the JSON within it, into a study's spec or a reproduction that is valid for given models.
func ParseInto(models grid.Models, path string, data []byte, spec proto.Message) error {
	// YAML allows no tabs between tokens, JSON does. A valid JSON text has them nowhere else.
	if json.Valid(data) {
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	failed := &Error{path: path, lines: strings.Split(string(data), "\n")}
	failed.problems = checkDocument(data)
	if len(failed.problems) > 0 {
		return failed
	}
	// Values that are missing because their key was misspelt need not be reported too, so the rules that span the
	// spec are checked only once all of it can be read.
	for _, validator := range []protoyaml.Validator{nil, validator{models}} {
		reader := &specReader{models: models}
		proto.Reset(spec)
		err := protoyaml.UnmarshalOptions{
			Path: path, CustomUnmarshaler: reader, Validator: validator,
		}.Unmarshal(data, spec)
		failed.problems = append(reader.problems, nodeProblems(path, err)...)
		if len(failed.problems) > 0 {
			return failed
		}
	}
	return nil
}

// checkDocument checks that data is YAML, and one document of it.
func checkDocument(data []byte) []problem {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, next yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return []problem{{message: "the spec is empty: see the folder examples for how one looks"}}
	}
	if err != nil {
		return []problem{syntaxProblem(err)}
	}
	err = decoder.Decode(&next)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return []problem{syntaxProblem(err)}
	default:
		return []problem{{line: next.Line, column: next.Column, message: "a second document begins here: a file holds " +
			"one spec; run and submit take several files"}}
	}
}

// parserErrors are how the texts of those errors begin whose line go.yaml.in/yaml/v3 counts from 0. It counts that of
// all others from 1.
var parserErrors = []string{
	"did not find expected ',' or", "did not find expected key", "did not find expected node content",
	"did not find expected '-' indicator", "did not find expected <",
}

// syntaxProblem is what the YAML parser says, in our form. It knows a line at best, and tells it in its text only.
func syntaxProblem(err error) problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	for _, start := range parserErrors {
		if strings.HasPrefix(text, start) {
			line++
		}
	}
	return problem{line: line, message: "this is not valid YAML: " + text}
}

// violationText is how protoyaml prints a violation: its field's path, which the position says better, its message, and
// its rule's id, which means nothing to people.
var violationText = regexp.MustCompile(`(?s)^(?:[\w.]|\[\d+\]|\["(?:[^"\\]|\\.)*"\])*: (.*) \([\w.]+\)$`)

// nodeProblems is what protoyaml reports, in our form. Its errors print themselves as the position, the cause and a
// snippet.
func nodeProblems(path string, err error) []problem {
	if err == nil {
		return nil
	}
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []problem{{message: err.Error()}}
	}
	var problems []problem
	for _, err := range list.Unwrap() {
		var problem problem
		fmt.Sscanf(strings.TrimPrefix(err.Error(), path), ":%d:%d", &problem.line, &problem.column)
		problem.message = err.Error()
		if cause := errors.Unwrap(err); cause != nil {
			problem.message = cause.Error()
		}
		if match := violationText.FindStringSubmatch(problem.message); match != nil {
			problem.message = match[1]
		}
		problems = append(problems, problem)
	}
	return problems
}

// validator is the models' Validate, or that of a reproduction, with its violations in plain words.
type validator struct{ models grid.Models }

var _ protoyaml.Validator = validator{}

// Validate checks a study's spec for the models of this binary. What is wrong comes as a
// *protovalidate.ValidationError in plain words.
func Validate(spec *trellisv1.StudySpec) error { return validator{Models()}.Validate(spec) }

func (v validator) Validate(message proto.Message) error {
	var err error
	switch message := message.(type) {
	case *trellisv1.StudySpec:
		err = v.models.Validate(message)
	case *trellisv1.Reproduction:
		err = reproduction.Validate(message, v.models.Validate)
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	plain := new(protovalidate.ValidationError)
	for _, violation := range invalid.Violations {
		plain.Violations = append(plain.Violations, plainViolation(violation))
	}
	return plain
}
