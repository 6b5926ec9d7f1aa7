package spec

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Differences is differences, for the spec of a study that may have been extended since.
func Differences(spec *trellisv1.StudySpec, study *trellisv1.Study) []string {
	if resolved, err := Models().ResolveEncoder(spec, study.GetPretrained()); err == nil {
		spec = resolved
	}
	for _, earlier := range grid.EarlierSpecs(study) {
		if len(differences(spec, earlier)) == 0 {
			return nil
		}
	}
	return differences(spec, study.GetSpec())
}

// differences returns the names of the fields in which a spec differs from one that a coordinator has admitted, which
// has all defaults filled in.
func differences(spec, admitted *trellisv1.StudySpec) []string {
	wanted := spec.GetOrder()
	spec = Models().WithDefaults(spec)
	// A study from before an axis has no value on it, and was trained with the default.
	complete := Models().WithDefaults(admitted).GetGrid()
	admitted = proto.CloneOf(admitted)
	admitted.Grid = complete
	if spec.GetSplit() == nil {
		spec.Split = admitted.GetSplit()
	}
	if admitted.GetOrder() == trellisv1.Order_ORDER_UNSPECIFIED {
		// Studies that prune had no order before they could have one.
		spec.Order = wanted
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
