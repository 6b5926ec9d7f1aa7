package node

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/output"
	"trellis/command/source"
	"trellis/command/spec"
	"trellis/coordinator"
	trellisv1 "trellis/proto/trellis/v1"
)

// specs reads and writes specs for those who ask a coordinator, as the command line does.
type specs struct{}

var _ coordinator.Specs = specs{}

const (
	// specName is what a text is called that comes without a file.
	specName = "spec"
	// toldProblems is how many problems of a text are told, toldOfEach how many bytes of each, and toldInAll how many bytes
	// of the text about all. They come in headers, for which some clients have 16 KiB.
	toldProblems = 20
	toldOfEach   = 300
	toldInAll    = 3000
)

// Read returns the spec of a text.
func (specs) Read(text string) (*trellisv1.StudySpec, error) {
	read, err := spec.ParseText(specName, []byte(text))
	if err != nil {
		return nil, told(err)
	}
	return read, nil
}

// Place says where in the text the rules are broken that an error names.
func (specs) Place(text string, err error) error {
	return told(spec.Place(specName, []byte(text), err))
}

// Write returns the text of a spec, without what is the default.
func (specs) Write(its *trellisv1.StudySpec) (string, error) {
	text, err := spec.YAML(spec.WithoutDefaults(its))
	return string(text), err
}

// told returns what is wrong with a text as a status with the detail TextProblems, and any other error as it is.
func told(err error) error {
	wrong, ok := errors.AsType[*source.Error](err)
	if !ok {
		return err
	}
	detail := &trellisv1.TextProblems{}
	for _, problem := range wrong.Problems() {
		if detail.Total++; detail.Total <= toldProblems {
			detail.Problems = append(detail.Problems, &trellisv1.TextProblem{
				Line: uint32(problem.Line), Column: uint32(problem.Column),
				Message: output.Shorten(problem.Message, toldOfEach),
			})
		}
	}
	answer, detailErr := status.New(codes.InvalidArgument, output.Shorten(wrong.Error(), toldInAll)).WithDetails(detail)
	if detailErr != nil {
		return status.Error(codes.InvalidArgument, output.Shorten(wrong.Error(), toldInAll))
	}
	return answer.Err()
}
