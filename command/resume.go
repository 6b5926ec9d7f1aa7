package command

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// begin submits a study, or goes on with it if it is there already with the same spec.
func (cli *commandLine) begin(
	ctx context.Context, c *client, request *trellisv1.CreateStudyRequest, directory dataDirectory,
) error {
	wanted := request.GetSpec()
	study, err := c.create(ctx, request)
	if err == nil {
		cli.describeStart(ctx, c, study)
	}
	if directory.path == "" || status.Code(err) != codes.AlreadyExists {
		return err
	}
	response, err := call(ctx, callTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: wanted.GetName()})
	if err != nil {
		return err
	}
	study = response.GetStudy()
	if different := differencesFrom(wanted, study); len(different) > 0 {
		return status.Errorf(codes.AlreadyExists, "study %s in %s has another spec: it differs in %s. Give this one another name, "+
			"or another place with %s", wanted.GetName(), directory.path, enumerate(different), directory.namedBy())
	}
	if study.GetState() == trellisv1.StudyState_STUDY_STATE_PAUSED {
		if _, err := call(ctx, callTimeout, c.ResumeStudy, &trellisv1.ResumeStudyRequest{Study: study.GetName()}); err != nil {
			return err
		}
	}
	goesOn := "goes on where it was"
	if ended(study) {
		goesOn = "has ended there"
	}
	_, err = fmt.Fprintf(cli.stderr, "Study %s is in %s with the same spec, and %s: %s.\n", study.GetName(), directory.path, goesOn,
		describeProgress(study))
	return err
}

// describeOthers says which studies share the workers, besides those that were asked for.
func (cli *commandLine) describeOthers(
	ctx context.Context, c *client, specs []*trellisv1.StudySpec, directory dataDirectory,
) error {
	if directory.path == "" {
		return nil
	}
	asked := make(map[string]bool)
	for _, spec := range specs {
		asked[spec.GetName()] = true
	}
	// The oldest study comes first.
	turn := "it is trained first"
	return c.eachStudy(ctx, func(study *trellisv1.Study) error {
		switch {
		case study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING:
			return nil
		case asked[study.GetName()]:
			turn = "it gets the slots that are left over"
			return nil
		}
		_, err := fmt.Fprintf(cli.stderr, "Study %s is in %s too, and not at its end: %s. To keep it from that: "+
			"trellis pause %s --coordinator %s\n", study.GetName(), directory.path, turn, study.GetName(), c.address)
		return err
	})
}

// differencesFrom is differences, for the spec of a study that may have been extended since.
func differencesFrom(spec *trellisv1.StudySpec, study *trellisv1.Study) []string {
	if resolved, err := grid.ResolveLatentDim(spec, study.GetPretrained()); err == nil {
		spec = resolved
	}
	for _, earlier := range study.GetEarlierSpecs() {
		if len(differences(spec, earlier)) == 0 {
			return nil
		}
	}
	return differences(spec, study.GetSpec())
}

// differences returns the names of the fields in which a spec differs from one that a coordinator has admitted, which has
// all defaults filled in.
func differences(spec, admitted *trellisv1.StudySpec) []string {
	spec = knownModels().WithDefaults(spec)
	if spec.GetSplit() == nil {
		spec.Split = admitted.GetSplit()
	}
	var names []string
	a, b := spec.ProtoReflect(), admitted.ProtoReflect()
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !equalField(a, b, field) {
			names = append(names, string(field.Name()))
		}
	}
	return names
}

// equalField says whether two messages of one type have the same value in a field.
func equalField(a, b protoreflect.Message, field protoreflect.FieldDescriptor) bool {
	if a.Has(field) != b.Has(field) {
		return false
	}
	alone := func(message protoreflect.Message) proto.Message {
		only := message.New()
		if message.Has(field) {
			only.Set(field, message.Get(field))
		}
		return only.Interface()
	}
	return proto.Equal(alone(a), alone(b))
}
