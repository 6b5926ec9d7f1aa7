package coordinator

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// withToken stores a token and returns a context of calls with it. A lifetime of 0 never ends.
func (h *harness) withToken(
	role trellisv1.Role, name string, lifetime time.Duration,
) (ctx context.Context, id, secret string) {
	h.Helper()
	secret, id, hash := access.NewSecret()
	token := &trellisv1.Token{Id: id, Principal: &trellisv1.Principal{Role: role, Name: name}, Hash: hash}
	if lifetime > 0 {
		token.ExpireTime = timestamppb.New(time.Now().Add(lifetime))
	}
	if _, err := h.commands.Propose(h.Context(), &trellisv1.Command{Change: &trellisv1.Command_CreateToken{
		CreateToken: &trellisv1.CreateTokenCommand{Token: token},
	}}); err != nil {
		h.Fatal(err)
	}
	return bearing(h.Context(), secret), id, secret
}

func bearing(ctx context.Context, secret string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, authorizationKey, bearer+secret)
}

// authenticating runs the test with a coordinator that asks who calls.
func authenticating(t *testing.T, test func(*harness)) {
	t.Helper()
	serve(t, Config{hooks: hooks{authenticate: true}}, func(h *harness) {
		synctest.Wait()
		test(h)
	})
}

func TestCallersMustSayWhoTheyAre(t *testing.T) {
	authenticating(t, func(h *harness) {
		viewer, _, secret := h.withToken(trellisv1.Role_ROLE_VIEWER, "vera", time.Hour)
		other := strings.Repeat("x", secretTail)
		for name, test := range map[string]struct {
			ctx  context.Context
			code codes.Code
			says string
		}{
			"nothing": {h.Context(), codes.Unauthenticated, "--token-file or TRELLIS_TOKEN"},
			"a token": {viewer, codes.OK, ""},
			"small letters": {
				metadata.AppendToOutgoingContext(h.Context(), authorizationKey, "bearer "+secret), codes.OK, "",
			},
			"no secret":        {bearing(h.Context(), "trellis_x"), codes.Unauthenticated, "unknown token"},
			"another's secret": {bearing(h.Context(), secret[:len(secret)-secretTail]+other), codes.Unauthenticated, "unknown token"},
			"no bearer": {
				metadata.AppendToOutgoingContext(h.Context(), authorizationKey, "Basic "+secret),
				codes.Unauthenticated, "bearer token",
			},
			"two tokens": {bearing(viewer, secret), codes.Unauthenticated, "one authorization only"},
			"says that it is a node": {
				metadata.AppendToOutgoingContext(viewer, callerRoleKey, "admin", callerNameKey, "ann"),
				codes.PermissionDenied, "only nodes",
			},
			"says that it forwards": {
				metadata.AppendToOutgoingContext(viewer, api.ForwardedBy, "one:1"), codes.PermissionDenied, "only nodes",
			},
		} {
			_, err := h.studies.ListStudies(test.ctx, &trellisv1.ListStudiesRequest{})
			if status.Code(err) != test.code || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v, want %v with %q", name, err, test.code, test.says)
			}
			stream, err := h.studies.WatchStudy(test.ctx, &trellisv1.WatchStudyRequest{Study: "none"})
			if err == nil {
				_, err = stream.Recv()
			}
			if want := test.code; want != codes.OK && status.Code(err) != want || want == codes.OK &&
				status.Code(err) != codes.NotFound {
				t.Errorf("%s: a stream: %v, want %v", name, err, want)
			}
		}
		_, err := h.studies.CreateStudy(viewer, &trellisv1.CreateStudyRequest{})
		if want := `viewer "vera" is not allowed to do this: CreateStudy needs the role submitter or admin`; status.Code(err) !=
			codes.PermissionDenied || status.Convert(err).Message() != want {
			t.Errorf("a viewer creates a study: %v", err)
		}
	})
}

// secretTail is how long the random part of a secret is.
const secretTail = 43

// A token that expires or is revoked is refused at once, and its streams end within seconds.
func TestStreamsEndWithTheirToken(t *testing.T) {
	authenticating(t, func(h *harness) {
		admin, _, _ := h.withToken(trellisv1.Role_ROLE_ADMIN, "ann", 0)
		if _, err := h.studies.CreateStudy(admin, &trellisv1.CreateStudyRequest{
			Spec: syntheticSpec("s", []uint32{4}, []uint32{9}),
		}); err != nil {
			t.Fatal(err)
		}
		tokens := trellisv1.NewAccessServiceClient(h.conn)
		for _, expires := range []bool{true, false} {
			created, err := tokens.CreateToken(admin, &trellisv1.CreateTokenRequest{
				Role: trellisv1.Role_ROLE_VIEWER, Name: "vera", ExpireTime: timestamppb.New(time.Now().Add(time.Minute)),
			})
			if err != nil {
				t.Fatal(err)
			}
			viewer := bearing(h.Context(), created.GetSecret())
			stream, err := h.studies.WatchStudy(viewer, &trellisv1.WatchStudyRequest{Study: "s"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			if expires {
				time.Sleep(time.Minute)
			} else if _, err := tokens.RevokeToken(admin,
				&trellisv1.RevokeTokenRequest{Id: created.GetToken().GetId()}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.studies.ListStudies(viewer, &trellisv1.ListStudiesRequest{}); status.Code(err) !=
				codes.Unauthenticated {
				t.Errorf("a call with a token that has ended: %v", err)
			}
			began := time.Now()
			_, err = stream.Recv()
			if status.Code(err) != codes.Unauthenticated || time.Since(began) > 2*tokenInterval {
				t.Errorf("its stream, after %v: %v", time.Since(began), err)
			}
		}
		h.tokens.mu.Lock()
		defer h.tokens.mu.Unlock()
		if len(h.tokens.byID) != 0 {
			t.Errorf("%d tokens are still in use", len(h.tokens.byID))
		}
	})
}

// Secrets are shown once, and their hashes never.
func TestListedTokensHaveNoSecrets(t *testing.T) {
	authenticating(t, func(h *harness) {
		admin, id, _ := h.withToken(trellisv1.Role_ROLE_ADMIN, "ann", 0)
		tokens := trellisv1.NewAccessServiceClient(h.conn)
		created, err := tokens.CreateToken(admin, &trellisv1.CreateTokenRequest{
			Role: trellisv1.Role_ROLE_WORKER, Name: "gpu-farm",
		})
		if err != nil {
			t.Fatal(err)
		}
		listed, err := tokens.ListTokens(admin, &trellisv1.ListTokensRequest{})
		if err != nil || len(listed.GetTokens()) != 2 {
			t.Fatalf("%v, %v", listed, err)
		}
		for _, token := range append(listed.GetTokens(), created.GetToken()) {
			if token.GetHash() != nil || token.GetPrincipal() == nil {
				t.Errorf("shown %v", token)
			}
		}
		if got := created.GetToken(); got.GetCreator().GetName() != "ann" || got.GetCreateTime() == nil ||
			!strings.HasPrefix(created.GetSecret(), "trellis_"+got.GetId()+"_") {
			t.Errorf("created %v", created)
		}
		who, err := tokens.WhoAmI(admin, &trellisv1.WhoAmIRequest{})
		if err != nil || who.GetPrincipal().GetName() != "ann" || who.GetToken().GetId() != id ||
			who.GetToken().GetHash() != nil {
			t.Errorf("who am I: %v, %v", who, err)
		}
		for _, request := range []*trellisv1.CreateTokenRequest{
			{Role: trellisv1.Role_ROLE_NODE, Name: "a"},
			{Name: "a"},
			{Role: trellisv1.Role_ROLE_VIEWER, Name: "a b"},
			{Role: trellisv1.Role_ROLE_VIEWER, Name: "a", ExpireTime: timestamppb.Now()},
		} {
			if _, err := tokens.CreateToken(admin, request); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%v: %v", request, err)
			}
		}
	})
}

// Without authentication everybody may do everything, and the events say from where.
func TestEventsSayWhoChangedWhat(t *testing.T) {
	for _, asks := range []bool{false, true} {
		serve(t, Config{hooks: hooks{authenticate: asks}}, func(h *harness) {
			synctest.Wait()
			ctx := h.Context()
			if asks {
				ctx, _, _ = h.withToken(trellisv1.Role_ROLE_SUBMITTER, "sam", 0)
			}
			if _, err := h.studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{
				Spec: syntheticSpec("s", []uint32{4}, []uint32{9}),
			}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				// What has the state already is no change.
				if _, err := h.studies.ResumeStudy(ctx, &trellisv1.ResumeStudyRequest{Study: "s"}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				// What is refused is no change.
				h.studies.DeleteStudy(ctx, &trellisv1.DeleteStudyRequest{Study: "s"})
			}
			listed, err := trellisv1.NewAccessServiceClient(h.conn).ListEvents(ctx, &trellisv1.ListEventsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			var methods []string
			for _, event := range listed.GetEvents() {
				methods = append(methods, event.GetMethod())
				if event.GetSubject() != "s" || event.GetAddress() != "bufconn" || event.GetTime() == nil ||
					asks != (event.GetPrincipal().GetName() == "sam") || !asks && event.GetPrincipal() != nil {
					t.Errorf("event %v", event)
				}
			}
			if strings.Join(methods, " ") != "DeleteStudy CreateStudy" {
				t.Errorf("events %v", methods)
			}
		})
	}
}

// A submitter changes only what it has made. An admin changes everything.
func TestSubmittersChangeTheirOwnStudies(t *testing.T) {
	authenticating(t, func(h *harness) {
		sam, _, _ := h.withToken(trellisv1.Role_ROLE_SUBMITTER, "sam", 0)
		sue, _, _ := h.withToken(trellisv1.Role_ROLE_SUBMITTER, "sue", 0)
		ann, _, _ := h.withToken(trellisv1.Role_ROLE_ADMIN, "ann", 0)
		created, err := h.studies.CreateStudy(sam, &trellisv1.CreateStudyRequest{
			Spec: syntheticSpec("s", []uint32{4}, []uint32{9}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if who := created.GetStudy().GetCreator(); access.FromMessage(who) !=
			(access.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: "sam"}) {
			t.Errorf("created by %v", who)
		}
		for name, change := range map[string]func(context.Context) error{
			"pause": func(ctx context.Context) error {
				_, err := h.studies.PauseStudy(ctx, &trellisv1.PauseStudyRequest{Study: "s"})
				return err
			},
			"resume": func(ctx context.Context) error {
				_, err := h.studies.ResumeStudy(ctx, &trellisv1.ResumeStudyRequest{Study: "s"})
				return err
			},
			"extend": func(ctx context.Context) error {
				_, err := h.studies.ExtendStudy(ctx, &trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": trellisv1.AxisOf[int](9, 10, 11)}})
				return err
			},
			"retry": func(ctx context.Context) error {
				_, err := h.studies.RetryStudy(ctx, &trellisv1.RetryStudyRequest{Study: "s"})
				if status.Code(err) == codes.FailedPrecondition {
					return nil // Nothing has failed.
				}
				return err
			},
		} {
			if err := change(sue); status.Code(err) != codes.PermissionDenied {
				t.Errorf("another submitter may %s it: %v", name, err)
			}
			if err := change(sam); err != nil {
				t.Errorf("its creator may not %s it: %v", name, err)
			}
		}
		if _, err := h.studies.DeleteStudy(sue, &trellisv1.DeleteStudyRequest{Study: "s"}); status.Code(err) !=
			codes.PermissionDenied {
			t.Errorf("another submitter may delete it: %v", err)
		}
		if _, err := h.studies.CancelStudy(ann, &trellisv1.CancelStudyRequest{Study: "s"}); err != nil {
			t.Errorf("an admin may not cancel it: %v", err)
		}
	})
}

// The table of methods decides: whatever it says submitters may call for what they have made, they may not call for what others
// have made.
func TestTheTableSaysWhatSubmittersMayDoToTheirOwn(t *testing.T) {
	authenticating(t, func(h *harness) {
		sam, _, _ := h.withToken(trellisv1.Role_ROLE_SUBMITTER, "sam", 0)
		sue, _, _ := h.withToken(trellisv1.Role_ROLE_SUBMITTER, "sue", 0)
		if _, err := h.studies.CreateStudy(sam, &trellisv1.CreateStudyRequest{
			Spec: syntheticSpec("s", []uint32{4}, []uint32{9}),
		}); err != nil {
			t.Fatal(err)
		}
		report := paperWith("s", nil)
		if _, err := trellisv1.NewPaperServiceClient(h.conn).PutPaperReport(sam, report); err != nil {
			t.Fatal(err)
		}
		for _, method := range methods {
			if !method.own {
				continue
			}
			path := strings.ReplaceAll(strings.TrimPrefix(method.name, "/"), "/", ".")
			found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(path))
			if err != nil {
				t.Fatal(err)
			}
			called := found.(protoreflect.MethodDescriptor)
			// Its request says which study or report.
			request := report.ProtoReflect()
			if called.Input() != request.Descriptor() {
				input, err := protoregistry.GlobalTypes.FindMessageByName(called.Input().FullName())
				if err != nil {
					t.Fatal(err)
				}
				request = input.New()
				named := cmp.Or(called.Input().Fields().ByName("study"), called.Input().Fields().ByName("report"))
				request.Set(named, protoreflect.ValueOfString("s"))
			}
			info := &grpc.UnaryServerInfo{FullMethod: method.name}
			for name, ctx := range map[string]context.Context{
				"sam": access.With(h.Context(), access.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: "sam"}),
				"sue": access.With(h.Context(), access.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: "sue"}),
				"ann": access.With(h.Context(), access.Principal{Role: trellisv1.Role_ROLE_ADMIN, Name: "ann"}),
			} {
				handled := false
				_, err := h.checkOwner(ctx, request.Interface(), info,
					func(context.Context, any) (any, error) { handled = true; return nil, nil })
				if mayNot := name == "sue"; handled == mayNot || mayNot != (status.Code(err) == codes.PermissionDenied) {
					t.Errorf("%s calls %s: %t, %v", name, method.name, handled, err)
				}
			}
			output, err := protoregistry.GlobalTypes.FindMessageByName(called.Output().FullName())
			if err != nil {
				t.Fatal(err)
			}
			err = h.conn.Invoke(sue, method.name, request.Interface(), output.New().Interface())
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("another submitter calls %s: %v", method.name, err)
			}
		}
	})
}

// A study may be replaced by another of its name between the service's look at it and its change.
func TestTheLogRefusesASubmittersChangeOfAnothersStudy(t *testing.T) {
	authenticating(t, func(h *harness) {
		sam, _, _ := h.withToken(trellisv1.Role_ROLE_SUBMITTER, "sam", 0)
		if _, err := h.studies.CreateStudy(sam, &trellisv1.CreateStudyRequest{
			Spec: syntheticSpec("s", []uint32{4}, []uint32{9}),
		}); err != nil {
			t.Fatal(err)
		}
		token := &trellisv1.Token{Id: "t", Principal: &trellisv1.Principal{Role: trellisv1.Role_ROLE_ADMIN, Name: "sam"}}
		if _, err := h.commands.Propose(h.Context(), &trellisv1.Command{
			Principal: &trellisv1.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: "sam"}, Method: "CreateToken",
			Change: &trellisv1.Command_CreateToken{CreateToken: &trellisv1.CreateTokenCommand{Token: token}},
		}); !errors.Is(err, results.ErrNotOwner) {
			t.Errorf("a submitter's change of something that is no study: %v", err)
		}
		for _, name := range []string{"sue", "sam"} {
			_, err := h.commands.Propose(h.Context(), &trellisv1.Command{
				Principal: &trellisv1.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: name}, Method: "DeleteStudy",
				Change: &trellisv1.Command_DeleteStudy{DeleteStudy: &trellisv1.DeleteStudyCommand{Study: "s"}},
			})
			if mayNot := name == "sue"; mayNot != errors.Is(err, results.ErrNotOwner) || !mayNot && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
