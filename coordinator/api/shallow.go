package api

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shallow copies a stored message, so that what is not stored can be added. Its parts are shared with the stored one,
// which nobody changes.
func shallow[M proto.Message](message M) M {
	copied := message.ProtoReflect().New()
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		copied.Set(field, value)
		return true
	})
	return copied.Interface().(M)
}
