package golden

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ReadMessage reads what a command has written with -o json, in which enums are words.
func ReadMessage(data []byte, message proto.Message) error {
	var document map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("read %s: %w", data, err)
	}
	nameEnums(document, message.ProtoReflect().Descriptor())
	named, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(named, message)
}

// nameEnums turns words into the names that protojson reads.
func nameEnums(document map[string]any, message protoreflect.MessageDescriptor) {
	for key, value := range document {
		field := message.Fields().ByName(protoreflect.Name(key))
		if field == nil {
			continue
		}
		of := field
		if field.IsMap() {
			of = field.MapValue()
		}
		switch value := value.(type) {
		case []any:
			for i, item := range value {
				value[i] = nameEnum(item, of)
			}
		case map[string]any:
			if field.IsMap() {
				for key, item := range value {
					value[key] = nameEnum(item, of)
				}
				continue
			}
			nameEnum(value, of)
		default:
			document[key] = nameEnum(value, of)
		}
	}
}

// nameEnum turns one value of a field, and those in it.
func nameEnum(value any, field protoreflect.FieldDescriptor) any {
	switch value := value.(type) {
	case map[string]any:
		nameEnums(value, field.Message())
	case string:
		if field.Enum() == nil {
			return value
		}
		prefix := strings.TrimSuffix(string(field.Enum().Values().Get(0).Name()), "UNSPECIFIED")
		return prefix + strings.ToUpper(value)
	}
	return value
}
