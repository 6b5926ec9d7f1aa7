package coordinator

import (
	"maps"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/runtime/protoimpl"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// A time that is none reaches neither the log nor a study.
func TestTimesThatAreNoneAreRefused(t *testing.T) {
	_, connect := overTCP(t, Limits{})
	conn := connect()
	tokens, studies := trellisv1.NewAccessServiceClient(conn), trellisv1.NewStudyServiceClient(conn)
	for _, at := range []*timestamppb.Timestamp{
		{Seconds: 1 << 62},
		{Seconds: -1 << 62},
		{Seconds: time.Now().Unix() + 100, Nanos: -1},
		{Seconds: 253402300800},
		{Seconds: 1, Nanos: 2e9},
	} {
		_, err := tokens.CreateToken(t.Context(), &trellisv1.CreateTokenRequest{
			Role: trellisv1.Role_ROLE_ADMIN, Name: "a", ExpireTime: at,
		}, grpc.WaitForReady(true))
		wantCode(t, err, codes.InvalidArgument, "expire_time: invalid time")
	}
	for _, took := range []*durationpb.Duration{{Seconds: 1, Nanos: -5}, {Seconds: 1 << 62}, {Nanos: 1e9}} {
		spec := syntheticSpec("times", []uint32{1}, []uint32{2})
		spec.Synthetic = &trellisv1.Synthetic{EpochTime: took}
		_, err := studies.PlanStudy(t.Context(), &trellisv1.PlanStudyRequest{Spec: spec})
		wantCode(t, err, codes.InvalidArgument, "epoch_time: invalid duration")
	}
	// Right ones pass.
	spec := syntheticSpec("times", []uint32{1}, []uint32{2})
	spec.Synthetic = &trellisv1.Synthetic{EpochTime: durationpb.New(time.Millisecond)}
	if _, err := studies.PlanStudy(t.Context(), &trellisv1.PlanStudyRequest{Spec: spec}); err != nil {
		t.Error(err)
	}
}

// A spec that is too large is refused as such: its rules, which it breaks, are not looked at.
func TestTheSizeOfASpecIsCheckedBeforeItsRules(t *testing.T) {
	_, connect := overTCP(t, Limits{SpecBytes: 4 << 10, StudyBytes: 64 << 10})
	studies := trellisv1.NewStudyServiceClient(connect())
	spec := longSpec("", 8<<10)
	_, err := studies.PlanStudy(t.Context(), &trellisv1.PlanStudyRequest{Spec: spec}, grpc.WaitForReady(true))
	wantCode(t, err, codes.InvalidArgument, "limit spec-bytes=4096")
}

// Large specs that break a rule, many at once, are checked one by one, and leave another client its time.
func TestTheRulesOfLargeSpecsAreCheckedInTurn(t *testing.T) {
	skipShort(t)
	target := newTarget(t, hostileConfig{})
	stop := target.latency("127.0.0.9")
	spec := longSpec("rules", 900<<10)
	for _, one := range spec.Grid {
		one.Axes["max_epochs"] = trellisv1.AxisOf(0)
	}
	studies := target.client("127.0.0.2").studies
	const callers = 30
	answers := make(chan error, callers)
	for range callers {
		go func() {
			_, err := studies.PlanStudy(t.Context(), &trellisv1.PlanStudyRequest{Spec: spec})
			answers <- err
		}()
	}
	checked, refused := 0, 0
	for range callers {
		switch err := <-answers; {
		case status.Code(err) == codes.InvalidArgument:
			checked++
		case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "large specs"):
			refused++
		default:
			t.Error(err)
		}
	}
	worst, calls := stop()
	t.Logf("%d were checked and %d refused; the slowest of %d calls of another client took %v; peak memory %d MB",
		checked, refused, calls, worst, target.status("VmHWM")>>10)
	if checked == 0 || refused == 0 {
		t.Errorf("%d were checked, %d refused", checked, refused)
	}
}

// An answer that there will never be room for is refused. The connection, and what else it carries, goes on.
func TestAnAnswerAboveTheLimitOfUnreadBytesIsRefused(t *testing.T) {
	_, connect := overTCP(t, Limits{SpecBytes: 3 << 20, UnreadBytesEach: 2 << 20})
	studies := trellisv1.NewStudyServiceClient(connect())
	for _, spec := range []*trellisv1.StudySpec{
		longSpec("large", 2200<<10), syntheticSpec("small", []uint32{1}, []uint32{2}),
	} {
		request := &trellisv1.CreateStudyRequest{Spec: spec}
		_, err := studies.CreateStudy(t.Context(), request, grpc.WaitForReady(true))
		if code := status.Code(err); code != codes.OK && code != codes.ResourceExhausted {
			t.Fatal(err)
		}
	}
	watch, err := studies.WatchStudy(t.Context(), &trellisv1.WatchStudyRequest{Study: "small"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = studies.GetStudy(t.Context(), &trellisv1.GetStudyRequest{Study: "large"})
	wantCode(t, err, codes.ResourceExhausted, "the answer has")
	wantCode(t, err, codes.ResourceExhausted, "limit unread-bytes-each=2097152")
	large, err := studies.WatchStudy(t.Context(), &trellisv1.WatchStudyRequest{Study: "large"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = large.Recv()
	wantCode(t, err, codes.ResourceExhausted, "limit unread-bytes-each=2097152")
	if _, err := studies.PauseStudy(t.Context(), &trellisv1.PauseStudyRequest{Study: "small"}); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Errorf("the watch on the same connection: %v", err)
	}
}

// Whatever message a request has, in fields, lists, maps and alternatives, loses its unknown fields, and its times are
// checked.
func TestNestedMessagesAreCleaned(t *testing.T) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 9999, protowire.VarintType), 1)
	types := 0
	protoregistry.GlobalTypes.RangeMessages(func(kind protoreflect.MessageType) bool {
		if kind.Descriptor().ParentFile().Package() != "trellis.v1" || kind.Descriptor().IsMapEntry() {
			return true
		}
		types++
		fields := kind.Descriptor().Fields()
		for i := range fields.Len() {
			field, message := fields.Get(i), kind.New()
			var its protoreflect.Message
			switch {
			case field.IsMap() && field.MapValue().Message() != nil:
				value := message.NewField(field).Map().NewValue()
				key := protoreflect.ValueOfString("key").MapKey()
				if field.MapKey().Kind() == protoreflect.Uint32Kind {
					key = protoreflect.ValueOfUint32(1).MapKey()
				}
				message.Mutable(field).Map().Set(key, value)
				its = value.Message()
			case field.IsMap() || field.Message() == nil:
				continue
			case field.IsList():
				its = message.Mutable(field).List().AppendMutable().Message()
			default:
				its = message.Mutable(field).Message()
			}
			its.SetUnknown(unknown)
			if err := clean(message.Interface()); err != nil || len(its.GetUnknown()) > 0 {
				t.Errorf("%s: error %v, unknown fields %x", field.FullName(), err, its.GetUnknown())
			}
			if at, ok := its.Interface().(*timestamppb.Timestamp); ok {
				at.Nanos = -1
				if err := clean(message.Interface()); err == nil {
					t.Errorf("%s: an invalid time", field.FullName())
				}
			}
		}
		return true
	})
	if types < 100 {
		t.Errorf("only %d messages", types)
	}
}

// What is not looked at further breaks no rule and has no unknown field.
func TestPlainRequests(t *testing.T) {
	beat := func(heartbeat *trellisv1.Heartbeat) *trellisv1.SessionRequest {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: heartbeat}}
	}
	of := func(reports ...*trellisv1.Reports) *trellisv1.SessionRequest {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: reports},
		}}
	}
	ended := func(outcome *trellisv1.Outcome) *trellisv1.SessionRequest {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: outcome}}
	}
	success := func(reason trellisv1.StopReason) *trellisv1.Outcome {
		return &trellisv1.Outcome{Attempt: 1, Result: &trellisv1.Outcome_Success_{
			Success: &trellisv1.Outcome_Success{StopReason: reason},
		}}
	}
	all := func(requests ...*trellisv1.SessionRequest) *trellisv1.SessionRequest {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Batch{
			Batch: &trellisv1.SessionRequests{Requests: requests},
		}}
	}
	losses := &trellisv1.Reports{
		Study: "s", Run: "r", Attempt: 1, FirstEpoch: 1, TrainLoss: []float64{1}, ValidationLoss: []float64{1},
		Seconds: []float64{1}, TestLoss: map[uint32]float64{1: 1},
	}
	const longest = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	written := success(longest)
	written.Output = &trellisv1.Output{}
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		request *trellisv1.SessionRequest
		plain   bool
	}{
		"nothing":     {&trellisv1.SessionRequest{}, false},
		"a heartbeat": {beat(&trellisv1.Heartbeat{Number: 1}), true},
		"one with an attempt": {
			beat(&trellisv1.Heartbeat{Attempts: make([]*trellisv1.AttemptProgress, 1)}), false,
		},
		"a heartbeat that is absent": {beat(nil), false},
		"losses":                     {of(losses, losses), true},
		"no reports":                 {of(), false},
		"reports that are absent":    {of(losses, nil), false},
		"too many reports":           {of(make([]*trellisv1.Reports, 5000)...), false},
		"metrics":                    {of(&trellisv1.Reports{Metrics: map[string]*trellisv1.Series{"m": {}}}), false},
		"metrics of a test": {
			of(losses, &trellisv1.Reports{TestMetrics: map[uint32]*trellisv1.Metrics{1: {}}}), false,
		},
		"a success":                   {ended(success(longest)), true},
		"one for no reason":           {ended(success(0)), false},
		"one for a reason of its own": {ended(success(99)), false},
		"one with output":             {ended(written), false},
		"a failure": {
			ended(&trellisv1.Outcome{Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{}}}), false,
		},
		"a batch":                     {all(of(losses), ended(success(longest))), true},
		"an empty batch":              {all(), false},
		"a batch of nothing":          {all(&trellisv1.SessionRequest{}), false},
		"a batch of what is absent":   {all(nil), false},
		"a batch of a batch":          {all(all(of(losses))), false},
		"a batch with a bad success":  {all(of(losses), ended(success(0))), false},
		"a batch of too many":         {all(make([]*trellisv1.SessionRequest, 5000)...), false},
		"a drain, which is sent once": {&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Drain{}}, false},
	} {
		if got := isPlain(c.request); got != c.plain {
			t.Errorf("%s: plain is %t", name, got)
		}
		if !c.plain {
			continue
		}
		if err := validator.Validate(c.request); err != nil {
			t.Errorf("%s breaks rules: %v", name, err)
		}
		// Wherever there is an unknown field, it is no longer plain.
		within := 0
		eachMessage(c.request.ProtoReflect(), func(message protoreflect.Message) {
			within++
			message.SetUnknown(protoreflect.RawFields("\xf8\x07\x01")) // Field 127.
			if isPlain(c.request) {
				t.Errorf("%s is plain with an unknown field in its %s", name, message.Descriptor().Name())
			}
			if err := clean(c.request); err != nil || len(message.GetUnknown()) > 0 {
				t.Errorf("%s: cleaned to %v: %v", name, c.request, err)
			}
		})
		if within < 2 {
			t.Errorf("%s has %d messages", name, within)
		}
	}
	if isPlain(&trellisv1.Heartbeat{}) {
		t.Error("a heartbeat that is no request is plain")
	}
}

// eachMessage visits a message and all messages in its lists and single fields.
func eachMessage(message protoreflect.Message, visit func(protoreflect.Message)) {
	visit(message)
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range value.List().Len() {
				eachMessage(value.List().Get(i).Message(), visit)
			}
		default:
			eachMessage(value.Message(), visit)
		}
		return true
	})
}

// The rules that isPlain knows are all that there are of the messages that it lets pass. Who changes one changes
// isPlain.
func TestPlainRequestsKnowAllRules(t *testing.T) {
	want := map[protoreflect.FullName]string{
		"trellis.v1.SessionRequest.message":      "required:true",
		"trellis.v1.SessionRequests.requests":    "repeated:{min_items:1 max_items:4096}",
		"trellis.v1.ReportBatch.reports":         "repeated:{min_items:1 max_items:4096}",
		"trellis.v1.Outcome.Success.stop_reason": "enum:{defined_only:true not_in:0}",
		"trellis.v1.Heartbeat.attempts":          "repeated:{max_items:4096}",
	}
	// A field of a message that is not looked at would not be cleaned.
	fields := map[protoreflect.Name]int{
		"SessionRequest": 9, "SessionRequests": 1, "ReportBatch": 1, "Reports": 11, "Outcome": 7, "Success": 2, "Heartbeat": 2,
	}
	got := map[protoreflect.FullName]string{}
	note := func(of protoreflect.Descriptor, rules *protoimpl.ExtensionInfo) {
		if proto.HasExtension(of.Options(), rules) {
			text := prototext.MarshalOptions{}.Format(proto.GetExtension(of.Options(), rules).(proto.Message))
			got[of.FullName()] = strings.Join(strings.Fields(text), " ")
		}
	}
	for _, message := range []proto.Message{
		&trellisv1.SessionRequest{}, &trellisv1.SessionRequests{}, &trellisv1.ReportBatch{}, &trellisv1.Reports{},
		&trellisv1.Outcome{}, &trellisv1.Outcome_Success{}, &trellisv1.Heartbeat{},
	} {
		its := message.ProtoReflect().Descriptor()
		if n := its.Fields().Len(); n != fields[its.Name()] {
			t.Errorf("%s has %d fields, of which isPlain knows %d", its.Name(), n, fields[its.Name()])
		}
		note(its, validate.E_Message)
		for i := range its.Fields().Len() {
			note(its.Fields().Get(i), validate.E_Field)
		}
		for i := range its.Oneofs().Len() {
			note(its.Oneofs().Get(i), validate.E_Oneof)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the rules are %v, want %v", got, want)
	}
	if reasons := len(trellisv1.StopReason_name) - 1; reasons != len(plainReasons) {
		t.Errorf("there are %d reasons to stop, and %d are plain", reasons, len(plainReasons))
	}
}
