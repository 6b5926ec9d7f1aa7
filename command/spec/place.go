package spec

import (
	"errors"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// File is a study's spec with the text that it was read from.
type File struct {
	Spec *trellisv1.StudySpec
	// Path is what to call the file.
	Path string
	// Files is the folder of its program's files, nil if it names none.
	Files *FilesFolder
	data  []byte
}

// Place puts what is wrong with the spec, found after it was read, where it stands in the file: broken rules that a
// coordinator has found, or that were found here. It returns a *source.Error then, and any other error as it is.
func (f *File) Place(err error) error { return Place(f.Path, f.data, err) }

// Place is File.Place for a spec that was read from data.
func Place(path string, data []byte, err error) error {
	broken := brokenRules(err)
	if broken == nil {
		return err
	}
	placed := ParseInto(Models(), path, data, new(trellisv1.StudySpec), func(proto.Message) error { return broken })
	if placed == nil {
		return err
	}
	return placed
}

// BrokenRules are those that an error names, of a spec or of a request.
func BrokenRules(err error) []*protovalidate.Violation {
	broken, ok := errors.AsType[*protovalidate.ValidationError](brokenRules(err))
	if !ok {
		return nil
	}
	return broken.Violations
}

// brokenRules are those that an error names, or a detail of the answer of a call, nil if there are none.
func brokenRules(err error) error {
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		return invalid
	}
	if err == nil {
		return nil
	}
	answer, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, detail := range answer.Details() {
		violations, ok := detail.(*validate.Violations)
		if !ok || len(violations.GetViolations()) == 0 {
			continue
		}
		broken := new(protovalidate.ValidationError)
		for _, violation := range violations.GetViolations() {
			broken.Violations = append(broken.Violations, &protovalidate.Violation{Proto: violation})
		}
		return broken
	}
	return nil
}
