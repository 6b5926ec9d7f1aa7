package api

import (
	"context"
	"errors"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// Specs reads and writes specs as people write them.
type Specs interface {
	// Read returns the spec of a text. If something is wrong with the text, it returns a status with the detail
	// TextProblems.
	Read(text string) (*trellisv1.StudySpec, error)
	// Place returns such a status if err names broken rules of the text's spec. It returns any other error as it is.
	Place(text string, err error) error
	// Write returns the text of a spec.
	Write(spec *trellisv1.StudySpec) (string, error)
}

// largeText is the size of a text, in bytes, that takes so long to read that it needs a turn.
const largeText = 64 << 10

var errNoSpecs = status.Error(codes.Unimplemented,
	"this coordinator doesn't read specs as text: send the spec as a message")

// ParseSpec reads a spec as people write it, and says what its study would cost.
func (s studyService) ParseSpec(
	ctx context.Context, request *trellisv1.ParseSpecRequest,
) (*trellisv1.ParseSpecResponse, error) {
	if s.specs == nil {
		return nil, errNoSpecs
	}
	text := request.GetText()
	response := &trellisv1.ParseSpecResponse{}
	err := s.reading(ctx, len(text), func() (err error) {
		response.Spec, err = s.specs.Read(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	if request.GetPlan() {
		response.Plan, err = s.planNew(ctx, proto.CloneOf(response.GetSpec()), request.GetFresh())
	} else {
		err = s.limits.CheckSpec(response.GetSpec())
	}
	if err != nil {
		return nil, s.reading(ctx, len(text), func() error { return Status(s.specs.Place(text, err)) })
	}
	return response, nil
}

// reading reads or writes a text of so many bytes. Large ones are read one after the other.
func (s studyService) reading(ctx context.Context, size int, read func() error) error {
	if size > largeText {
		release, err := s.turns.Spec.take(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	return read()
}

// planNew says what a new study would cost. No other may have its name.
func (s studyService) planNew(
	ctx context.Context, spec *trellisv1.StudySpec, fresh bool,
) (*trellisv1.PlanStudyResponse, error) {
	name := spec.GetName()
	switch _, err := s.store.Snapshot().Study(nil, name); {
	case err == nil:
		_, _, err := s.createCommand(ctx, spec, fresh) // There is no use for its plan.
		return nil, refusedAsWell(err, "study.exists", status.Convert(errStudyExists(name)).Message(), "name")
	case !errors.Is(err, results.ErrNotFound):
		return nil, err
	}
	return s.PlanStudy(ctx, &trellisv1.PlanStudyRequest{Spec: spec, Fresh: fresh})
}

// refusedAsWell refuses a field of a spec, and what err refuses of it.
func refusedAsWell(err error, rule, message string, path ...any) error {
	refused := grid.Refuse(rule, message, path...)
	invalid, ok := errors.AsType[*protovalidate.ValidationError](refused)
	if !ok {
		return refused
	}
	for _, detail := range status.Convert(err).Details() {
		broken, _ := detail.(*validate.Violations)
		for _, violation := range broken.GetViolations() {
			invalid.Violations = append(invalid.Violations, &protovalidate.Violation{Proto: violation})
		}
	}
	return invalid
}

// FormatSpec writes a spec as people do.
func (s studyService) FormatSpec(
	ctx context.Context, request *trellisv1.FormatSpecRequest,
) (*trellisv1.FormatSpecResponse, error) {
	if s.specs == nil {
		return nil, errNoSpecs
	}
	response := &trellisv1.FormatSpecResponse{}
	err := s.reading(ctx, proto.Size(request), func() (err error) {
		response.Text, err = s.specs.Write(request.GetSpec())
		return err
	})
	if err != nil {
		return nil, Status(err)
	}
	return response, nil
}

type whenChecked struct{}

// WhenChecked makes the call of a context call checked when the rules of its spec have been checked, which takes long
// for a large one. A call that fails before doesn't.
func WhenChecked(ctx context.Context, checked func()) context.Context {
	return context.WithValue(ctx, whenChecked{}, checked)
}

// specChecked says that the rules of the call's spec have been checked.
func specChecked(ctx context.Context) {
	if checked, ok := ctx.Value(whenChecked{}).(func()); ok {
		checked()
	}
}
