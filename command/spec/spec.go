package spec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"trellis/command/exit"
	"trellis/command/source"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// maxSpecSize bounds a spec file, in bytes.
const maxSpecSize = 1 << 20

// ReadAll reads one spec per path and checks that no two of them have the same name. It reads all of them before it
// returns, so that nothing has begun when the last one turns out to be invalid.
func ReadAll(paths []string, stdin io.Reader) ([]*File, error) {
	specs := make([]*File, 0, len(paths))
	from := make(map[string]string)
	var problems []error
	for _, path := range paths {
		spec, err := Read(path, stdin)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if other, ok := from[spec.Spec.GetName()]; ok {
			problems = append(problems, exit.Usagef("%s and %s both have a study named %q: each study needs its own "+
				"name", other, path, spec.Spec.GetName()))
		}
		from[spec.Spec.GetName()] = path
		specs = append(specs, spec)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return specs, nil
}

// Read reads a study's spec from a file, or from stdin if path is "-". What is wrong with its content is returned
// as a *source.Error.
func Read(path string, stdin io.Reader) (*File, error) {
	path, data, err := ReadFile(path, stdin)
	if err != nil {
		return nil, err
	}
	file := &File{Spec: new(trellisv1.StudySpec), Path: path, data: data}
	models := Models()
	reader, err := parseInto(models, path, data, file.Spec, rulesOf(models))
	if err != nil {
		return nil, err
	}
	if err := file.locateFiles(reader.files); err != nil {
		return nil, err
	}
	return file, nil
}

// stdinName is what standard input is called.
const stdinName = "<stdin>"

// ReadFile returns the content of a file, or of stdin if path is "-", and what to call it.
func ReadFile(path string, stdin io.Reader) (name string, data []byte, err error) {
	in := stdin
	if path == "-" {
		path = stdinName
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
		return "", nil, exit.Usagef("%s is too large: a spec can have up to 1 MiB", path)
	}
	return path, data, nil
}

// Parse reads a study's spec that is valid for the models of this binary.
func Parse(path string, data []byte) (*trellisv1.StudySpec, error) {
	return parseFor(Models(), path, data)
}

// ParseText is Parse for a text that comes without a file: it can't name a folder of program files.
func ParseText(path string, data []byte) (*trellisv1.StudySpec, error) {
	if len(data) > maxSpecSize {
		return nil, exit.Usagef("%s is too large: a spec can have up to 1 MiB", path)
	}
	models, parsed := Models(), new(trellisv1.StudySpec)
	reader, err := parseInto(models, path, data, parsed, rulesOf(models))
	if err != nil {
		return nil, err
	}
	if files := reader.files; files != nil {
		return nil, (&File{Path: path, data: data}).Error(files, "files names a folder, from which only the command line can "+
			"send files: use trellis submit with a spec file")
	}
	return parsed, nil
}

// parseFor is Parse for given models.
func parseFor(models grid.Models, path string, data []byte) (*trellisv1.StudySpec, error) {
	spec := new(trellisv1.StudySpec)
	if err := ParseInto(models, path, data, spec, rulesOf(models)); err != nil {
		return nil, err
	}
	return spec, nil
}

// ParseInto reads YAML, or the JSON within it, into a study's spec, or into a message that has some and that validate knows
// the rules of. What is wrong with it is returned as a *source.Error.
func ParseInto(
	models grid.Models, path string, data []byte, spec proto.Message, validate func(proto.Message) error,
) error {
	_, err := parseInto(models, path, data, spec, validate)
	return err
}

// parseInto is ParseInto, and returns the reader, which knows what the message does not have.
func parseInto(
	models grid.Models, path string, data []byte, spec proto.Message, validate func(proto.Message) error,
) (*specReader, error) {
	text := source.NewText(path, data)
	document, err := text.Document()
	switch {
	case err != nil:
		return nil, err
	case document == nil:
		return nil, text.Error(source.Problem{Message: "the spec is empty: for an example, see examples/quick.yaml"})
	default:
		if err := text.Error(otherKind(document, spec)...); err != nil {
			return nil, err
		}
	}
	unmarshal := func(rules protoyaml.Validator) (*specReader, []source.Problem) {
		reader := &specReader{models: models}
		proto.Reset(spec)
		err := protoyaml.UnmarshalOptions{
			Path: path, CustomUnmarshaler: reader, Validator: rules,
		}.Unmarshal(text.Data, spec)
		return reader, append(reader.problems, nodeProblems(path, err)...)
	}
	_, unread := unmarshal(nil)
	if _, isSpec := spec.(*trellisv1.StudySpec); len(unread) > 0 && isSpec {
		_, all := unmarshal(partial(validate))
		return nil, text.Error(append(unread, besides(document, unread, all)...)...)
	}
	if len(unread) > 0 {
		return nil, text.Error(unread...)
	}
	reader, broken := unmarshal(validator(validate))
	if err := text.Error(broken...); err != nil {
		return nil, err
	}
	return reader, nil
}

// partial is a validator of a spec of which a part could not be read: it leaves out rules that look at several parts at
// once, which what is missing may seem to break.
func partial(validate validator) validator {
	return func(message proto.Message) error {
		invalid, ok := errors.AsType[*protovalidate.ValidationError](validate(message))
		if !ok {
			return nil
		}
		kept := new(protovalidate.ValidationError)
		for _, violation := range invalid.Violations {
			part, _, _ := strings.Cut(violation.Proto.GetRuleId(), ".")
			if !slices.Contains([]string{"where", "pruning", "settle", "budget", "objective"}, part) {
				kept.Violations = append(kept.Violations, violation)
			}
		}
		return kept
	}
}

// besides are the problems of parts of a document in which nothing is unread: what is said of the others may be due to
// what could not be read, as that a value is missing whose key was misspelt.
func besides(document *yaml.Node, unread, all []source.Problem) []source.Problem {
	places := make(map[source.Problem]bool)
	for _, problem := range unread {
		places[source.Problem{Line: problem.Line, Column: problem.Column}] = true
	}
	whole := make(map[source.Problem]bool)
	var look func(node *yaml.Node) bool
	look = func(node *yaml.Node) bool {
		place := source.Problem{Line: node.Line, Column: node.Column}
		readable := !places[place]
		for _, part := range node.Content {
			readable = look(part) && readable
		}
		// A mapping begins where its first key does: the last word is the mapping's.
		whole[place] = readable
		return readable
	}
	look(document)
	var others []source.Problem
	for _, problem := range all {
		if whole[source.Problem{Line: problem.Line, Column: problem.Column}] && !slices.Contains(unread, problem) {
			others = append(others, problem)
		}
	}
	return others
}

// violationText is how protoyaml prints a violation: its field's path, which the position says better, its message, and
// its rule's id, which means nothing to people.
var violationText = regexp.MustCompile(`(?s)^(?:[\w.]|\[\d+\]|\["(?:[^"\\]|\\.)*"\])*: (.*) \([\w.]+\)$`)

// nodeProblems is what protoyaml reports, in our form. Its errors print themselves as the position, the cause and a
// snippet.
func nodeProblems(path string, err error) []source.Problem {
	if err == nil {
		return nil
	}
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []source.Problem{{Message: err.Error()}}
	}
	var problems []source.Problem
	for _, err := range list.Unwrap() {
		var problem source.Problem
		fmt.Sscanf(strings.TrimPrefix(err.Error(), path), ":%d:%d", &problem.Line, &problem.Column)
		problem.Message = err.Error()
		if cause := errors.Unwrap(err); cause != nil {
			problem.Message = cause.Error()
		}
		if match := violationText.FindStringSubmatch(problem.Message); match != nil {
			problem.Message = match[1]
		}
		problems = append(problems, problem)
	}
	return problems
}

// validator checks a message, and puts what is wrong in plain words.
type validator func(proto.Message) error

var _ protoyaml.Validator = validator(nil)

// rulesOf are those of a study's spec for given models.
func rulesOf(models grid.Models) validator {
	return func(message proto.Message) error { return models.Validate(message.(*trellisv1.StudySpec)) }
}

// Validate checks a study's spec for the models of this binary. What is wrong comes as a
// *protovalidate.ValidationError in plain words.
func Validate(spec *trellisv1.StudySpec) error { return rulesOf(Models()).Validate(spec) }

// Validate returns what is wrong as a *protovalidate.ValidationError.
func (v validator) Validate(message proto.Message) error {
	err := v(message)
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	plain := new(protovalidate.ValidationError)
	for _, violation := range invalid.Violations {
		plain.Violations = append(plain.Violations, plainViolation(atData(message, violation)))
	}
	return plain
}
