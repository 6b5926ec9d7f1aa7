package output

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// EnumWord is how people and programs read the value of an enum: "succeeded" for TRIAL_STATE_SUCCEEDED, "max_epochs" for
// STOP_REASON_MAX_EPOCHS.
func EnumWord(value protoreflect.Enum) string { return enumWord(value.Descriptor(), value.Number()) }

func enumWord(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	value := enum.Values().ByNumber(number)
	if value == nil {
		// A newer coordinator knows more values than this binary.
		return "unknown"
	}
	return WordOf(value)
}

// WordOf is EnumWord of a value that is known by its description.
func WordOf(value protoreflect.EnumValueDescriptor) string {
	enum := value.Parent().(protoreflect.EnumDescriptor)
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), enumPrefix(enum)))
}

// enumPrefix is what the names of all values of an enum begin with: TRIAL_STATE_.
func enumPrefix(enum protoreflect.EnumDescriptor) string {
	return strings.TrimSuffix(string(enum.Values().Get(0).Name()), "UNSPECIFIED")
}
