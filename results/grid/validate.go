package grid

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// Validate checks a spec, with or without defaults. It first checks the rules of its messages, those of its model and
// the size of its grid, and if these hold, every point of every range. It returns a *protovalidate.ValidationError with
// the path of each field. A larger grid does not take longer.
//
// latent_dim may be missing if pretrained weights come from a study: then it is that study's latent dimension.
func (models Models) Validate(spec *trellisv1.StudySpec) error {
	b := builder{}
	if err := protovalidate.Validate(spec); err != nil {
		invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
		if !ok {
			return err
		}
		// It looks at maps in any order.
		slices.SortStableFunc(invalid.Violations, func(a, b *protovalidate.Violation) int {
			return strings.Compare(protovalidate.FieldPathString(a.Proto.GetField()),
				protovalidate.FieldPathString(b.Proto.GetField()))
		})
		b.violations = append(b.violations, invalid.Violations...)
	}
	models.check(&b, spec)
	models.checkObjective(&b, spec)
	spec = models.WithDefaults(knownLatentDim(spec))
	if len(b.violations) > 0 {
		b.checkSize(spec)
	} else if g := b.build(spec); g != nil {
		models.checkWhole(&b, spec)
		b.checkPruning(spec.GetPruning(), g)
		b.checkSettle(spec.GetSettle(), valueCount(spec.GetSeeds()))
	}
	return b.err()
}

// checkSettle refuses a budget that the spec itself exceeds.
func (b *builder) checkSettle(settle *trellisv1.Settle, seeds uint64) {
	if settle != nil && uint64(settle.GetMaxSeeds()) < seeds {
		b.refuse("settle.max_seeds", fmt.Sprintf(
			"every configuration has %d seeds to begin with, more than the %d that it may have at most: raise max_seeds, or give "+
				"fewer seeds", seeds, settle.GetMaxSeeds()), "settle", "max_seeds")
	}
}

// checkPruning refuses pruning that makes no sense in the grid, as that which would never look at a run.
func (b *builder) checkPruning(settings *trellisv1.Pruning, g *Grid) {
	longest := uint32(0)
	for _, p := range g.products {
		longest = max(longest, p.longest)
	}
	if problem := pruning.Check(settings, longest); problem != nil {
		path := []any{"pruning"}
		for _, field := range problem.Path {
			path = append(path, field)
		}
		b.refuse("pruning."+problem.Path[len(problem.Path)-1], problem.Text, path...)
	}
}

// mapKey is a step of a path: to the value of a map field that has this key.
type mapKey string

func violation(rule, message string, path ...any) *protovalidate.Violation {
	return Violation((*trellisv1.StudySpec)(nil), rule, message, path...)
}

// Violation says what is wrong with the field of a message that path leads to: names, and indices of repeated fields or
// keys of maps.
func Violation(of proto.Message, rule, message string, path ...any) *protovalidate.Violation {
	descriptor := of.ProtoReflect().Descriptor()
	var field protoreflect.FieldDescriptor
	var elements []*validate.FieldPathElement
	for _, step := range path {
		switch step := step.(type) {
		case string:
			field = descriptor.Fields().ByName(protoreflect.Name(step))
			descriptor = field.Message()
			elements = append(elements, validate.FieldPathElement_builder{
				FieldNumber: new(int32(field.Number())),
				FieldName:   new(string(field.Name())),
				FieldType:   descriptorpb.FieldDescriptorProto_Type(field.Kind()).Enum(),
			}.Build())
		case int:
			elements[len(elements)-1].SetIndex(uint64(step))
		case mapKey:
			last := elements[len(elements)-1]
			last.SetKeyType(descriptorpb.FieldDescriptorProto_Type(field.MapKey().Kind()))
			last.SetValueType(descriptorpb.FieldDescriptorProto_Type(field.MapValue().Kind()))
			last.SetStringKey(string(step))
			descriptor = field.MapValue().Message()
		}
	}
	return &protovalidate.Violation{
		FieldDescriptor: field,
		Proto: validate.Violation_builder{
			Field:   validate.FieldPath_builder{Elements: elements}.Build(),
			RuleId:  &rule,
			Message: &message,
		}.Build(),
	}
}
