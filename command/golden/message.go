package golden

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ReadMessage reads what a command has written with -o json, in which enums are words, and parameters and axes are plain.
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
		if !field.IsList() && !field.IsMap() {
			document[key] = nameEnum(value, of)
			continue
		}
		switch value := value.(type) {
		case []any:
			for i, item := range value {
				value[i] = nameEnum(item, of)
			}
		case map[string]any:
			for key, item := range value {
				value[key] = nameEnum(item, of)
			}
		}
	}
}

// nameEnum turns one value of a field, and those in it.
func nameEnum(value any, field protoreflect.FieldDescriptor) any {
	if message := field.Message(); message != nil {
		switch value = fromPlain(value, message.Name()); message.Name() {
		case "Value", "Parameters":
			return value
		}
	}
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

// fromPlain returns what is written in a form of its own in the form of its message.
func fromPlain(plain any, message protoreflect.Name) any {
	switch message {
	case "Value":
		return map[string]any{kindOf(plain): plain}
	case "Parameters":
		point := map[string]any{}
		values := map[string]any{}
		for name, value := range plain.(map[string]any) {
			if name == "max_epochs" || name == "seed" {
				point[name] = value
			} else {
				values[name] = fromPlain(value, "Value")
			}
		}
		point["values"] = values
		return point
	case "Grid":
		return map[string]any{"axes": plain}
	case "Axis":
		if list, ok := plain.([]any); ok && len(list) > 0 {
			kind := kindOf(list[0])
			for _, value := range list {
				if kindOf(value) == "number" {
					kind = "number"
				}
			}
			return map[string]any{kind + "s": list}
		}
	}
	return plain
}

// kindOf returns the name of a value's kind. A number that is whole is read as an integer.
func kindOf(value any) string {
	switch value := value.(type) {
	case json.Number:
		if _, err := value.Int64(); err == nil {
			return "integer"
		}
		return "number"
	case bool:
		return "boolean"
	}
	return "text"
}
