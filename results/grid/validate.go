package grid

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
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
func (models Models) Validate(spec *trellisv1.StudySpec) error { return models.validate(spec, 1) }

// validate is Validate for a spec that may have so many losses whatever its objective is: an extension is not refused for
// those that its study has.
func (models Models) validate(spec *trellisv1.StudySpec, mayHave int) error {
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
		models.checkTrainLoss(&b, spec, g, mayHave)
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

// rulesInWords are the texts that protovalidate has for its own rules, which speak of protobuf, with those of ours.
// They are replaced one after the other.
var rulesInWords = strings.NewReplacer(
	"value is required", "is missing or empty",
	"repeated value must contain unique items", "each value may be given once only",
	"must be greater than or equal to", "must be at least",
	"and less than or equal to", "and at most",
	"must be less than or equal to", "must be at most",
	"must be greater than", "must be above",
	"must be less than", "must be below",
)

// RuleInWords is what a broken rule says to people.
func RuleInWords(violation *protovalidate.Violation) string {
	return rulesInWords.Replace(violation.Proto.GetMessage())
}

// InWords says to people which rules are broken, where: batch_size: must be at least 1.
func InWords(invalid *protovalidate.ValidationError) string {
	texts := make([]string, len(invalid.Violations))
	for i, violation := range invalid.Violations {
		path := protovalidate.FieldPathString(violation.Proto.GetField())
		for _, list := range [...]string{".numbers", ".integers", ".texts", ".booleans"} {
			path = strings.TrimSuffix(path, list)
		}
		texts[i] = fmt.Sprintf("%s: %s", path, RuleInWords(violation))
		if path == "" {
			texts[i] = RuleInWords(violation)
		}
	}
	return strings.Join(texts, "; ")
}

// count is a number that stops at the largest there is.
type count struct{ n uint64 }

func (c *count) times(n uint64) {
	high, low := bits.Mul64(c.n, n)
	if c.n = low; high > 0 {
		c.n = math.MaxUint64
	}
}

func (c *count) plus(n uint64) {
	sum, carry := bits.Add64(c.n, n, 0)
	if c.n = sum; carry > 0 {
		c.n = math.MaxUint64
	}
}

func (c count) String() string {
	if c.n == math.MaxUint64 {
		return "more than " + grouped(c.n-1)
	}
	return grouped(c.n)
}

// grouped writes a number with commas.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var s strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			s.WriteByte(',')
		}
		s.WriteRune(digit)
	}
	return s.String()
}
