package client

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/command/output"
)

// A coordinator passes on what workers say of themselves: their names, versions, processors, and why runs failed. None
// of it may move a terminal's cursor, rename its window, or make one row of a table look like two. So every text that
// comes in has its control characters escaped here, before anything else sees it.

// printableUnary escapes the texts of a response.
func printableUnary(
	ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	err := invoke(ctx, method, request, response, conn, options...)
	if message, ok := response.(proto.Message); ok && err == nil {
		makePrintable(message.ProtoReflect())
	}
	return printableError(err)
}

// printableStream escapes the texts of all responses.
func printableStream(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil {
		return nil, printableError(err)
	}
	return printableResponses{stream}, nil
}

type printableResponses struct{ grpc.ClientStream }

func (s printableResponses) RecvMsg(response any) error {
	err := s.ClientStream.RecvMsg(response)
	if message, ok := response.(proto.Message); ok && err == nil {
		makePrintable(message.ProtoReflect())
	}
	return printableError(err)
}

// printableError escapes the text of a call's error. It may have several lines.
func printableError(err error) error {
	answer, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	lines := strings.Split(answer.Message(), "\n")
	changed := false
	for i, line := range lines {
		lines[i] = output.EscapeLine(line)
		changed = changed || lines[i] != line
	}
	if !changed {
		return err
	}
	escaped := answer.Proto()
	escaped.Message = strings.Join(lines, "\n")
	return status.FromProto(escaped).Err()
}

// makePrintable escapes all texts in a message. It changes the message, which must be the caller's own.
func makePrintable(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			makeMapPrintable(field, value.Map())
		case field.IsList():
			list := value.List()
			for i := 0; i < list.Len() && isText(field); i++ {
				if text, changed := escaped(field, list.Get(i)); changed {
					list.Set(i, text)
				}
			}
		default:
			if text, changed := escaped(field, value); changed {
				message.Set(field, text)
			}
		}
		return true
	})
}

func makeMapPrintable(field protoreflect.FieldDescriptor, values protoreflect.Map) {
	values.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		text, changed := escaped(field.MapValue(), value)
		name, renamed := escaped(field.MapKey(), key.Value())
		if renamed {
			values.Clear(key)
		}
		if changed || renamed {
			values.Set(name.MapKey(), text)
		}
		return true
	})
}

// isText says whether a field is a text, or a message that may have some.
func isText(field protoreflect.FieldDescriptor) bool {
	return field.Kind() == protoreflect.StringKind || field.Message() != nil
}

// escaped returns a text with its control characters escaped, and whether there were any. It changes a message in place.
func escaped(field protoreflect.FieldDescriptor, value protoreflect.Value) (protoreflect.Value, bool) {
	switch {
	case field.Message() != nil:
		makePrintable(value.Message())
	case field.Kind() == protoreflect.StringKind:
		if text := output.EscapeLine(value.String()); text != value.String() {
			return protoreflect.ValueOfString(text), true
		}
	}
	return value, false
}
