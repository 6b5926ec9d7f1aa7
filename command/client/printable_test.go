package client

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"worker-1 ünïcødé 日本 👩‍🔬": "worker-1 ünïcødé 日本 👩‍🔬",
		"a\nb\tc\rd":                   `a\nb\tc\rd`,
		"\x1b]0;mine\a\x1b[2J\u009b1m": `\x1b]0;mine\a\x1b[2J\u009b1m`,
		"gpu\u202eexe.\u2028\u2066":    `gpu\u202eexe.\u2028\u2066`,
		"\x7f\x00":                     `\x7f\x00`,
	} {
		if got := output.EscapeLine(text); got != want {
			t.Errorf("EscapeLine(%q) = %q, want %q", text, got, want)
		}
	}
}

// Whatever field a text is in, now or in a later version, no control character gets through.
func TestEveryTextIsPrintable(t *testing.T) {
	services := trellisv1.File_trellis_v1_service_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			message := newMessage(t, methods.Get(j).Output().FullName())
			texts := poison(message, 6)
			makePrintable(message)
			if left := poisoned(message); left > 0 {
				t.Errorf("%s: %d of %d texts have control characters", methods.Get(j).Output().FullName(), left, texts)
			}
		}
	}
}

func TestErrorsArePrintable(t *testing.T) {
	err := printableError(status.Error(codes.NotFound, "no study \"\x1b[2J\"\n  second line"))
	if got := status.Convert(err); got.Code() != codes.NotFound || got.Message() != "no study \"\\x1b[2J\"\n  second line" {
		t.Errorf("%v", err)
	}
	if plain := errors.New("plain"); printableError(plain) != plain || printableError(nil) != nil {
		t.Error("an error without a status has changed")
	}
}

func BenchmarkMakePrintable(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	response := &trellisv1.ListTrialsResponse{}
	for range 1000 {
		trial := &trellisv1.Trial{Study: "study", Run: "0123456789abcdef"}
		for range 50 {
			trial.ValidationLoss = append(trial.ValidationLoss, random.Float64())
		}
		response.Trials = append(response.Trials, trial)
	}
	encoded, err := proto.Marshal(response)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for range b.N {
		if err := proto.Unmarshal(encoded, &trellisv1.ListTrialsResponse{}); err != nil {
			b.Fatal(err)
		}
	}
	decoding := time.Since(start)
	b.ResetTimer()
	for range b.N {
		makePrintable(response.ProtoReflect())
	}
	b.ReportMetric(float64(b.Elapsed())/float64(decoding), "of-decoding")
}

func newMessage(t *testing.T, name protoreflect.FullName) protoreflect.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return kind.New()
}

const poisonText = "\x1b[2J\n"

// poison fills all texts of a message, down to a depth, and returns how many there are.
func poison(message protoreflect.Message, depth int) (texts int) {
	if depth == 0 {
		return 0
	}
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case field.IsMap():
			values := message.Mutable(field).Map()
			value := values.NewValue()
			if field.MapValue().Kind() == protoreflect.StringKind {
				value = protoreflect.ValueOfString(poisonText)
			} else if field.MapValue().Message() != nil {
				texts += poison(value.Message(), depth-1)
			}
			if field.MapKey().Kind() == protoreflect.StringKind {
				values.Set(protoreflect.ValueOfString(poisonText).MapKey(), value)
				texts++
			}
		case field.IsList() && field.Message() != nil:
			element := message.Mutable(field).List().AppendMutable()
			texts += poison(element.Message(), depth-1)
		case field.IsList() && field.Kind() == protoreflect.StringKind:
			message.Mutable(field).List().Append(protoreflect.ValueOfString(poisonText))
			texts++
		case field.IsList():
		case field.Message() != nil:
			texts += poison(message.Mutable(field).Message(), depth-1)
		case field.Kind() == protoreflect.StringKind:
			message.Set(field, protoreflect.ValueOfString(poisonText))
			texts++
		}
	}
	return texts
}

// poisoned counts the control characters in a message's text form, which escapes none that makePrintable has escaped.
func poisoned(message protoreflect.Message) int {
	encoded, err := proto.Marshal(message.Interface())
	if err != nil {
		return -1
	}
	return strings.Count(string(encoded), poisonText)
}
