package coordinator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// secured is a coordinator with TLS on a real socket.
type secured struct {
	*testing.T
	*Coordinator
	own     *authority
	address string
}

// startSecured starts a coordinator, with TLS if there is an authority. It ends with the test.
func startSecured(t *testing.T, own *authority, config Config) *secured {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Numerics, config.Models = testNumerics, testModels
	if config.MinFreeDisk == 0 {
		config.MinFreeDisk = 1
	}
	if own != nil {
		config.TLS = own.issue(trellisv1.Role_ROLE_NODE, "127.0.0.1", "127.0.0.1")
	}
	coordinator, err := New(config, listener, memoryDataSets{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- coordinator.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &secured{T: t, Coordinator: coordinator, own: own, address: listener.Addr().String()}
}

// caller is a connection with a certificate, a token, both or neither.
func (s *secured) caller(certificate access.Files, secret string) *grpc.ClientConn {
	s.Helper()
	content, err := os.ReadFile(s.own.files("authority").Authority)
	if err != nil {
		s.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	config.RootCAs.AppendCertsFromPEM(content)
	if certificate.Certificate != "" {
		// Also one that the coordinator would not ask for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.own.pair(certificate)[0], nil
		}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	if secret != "" {
		options = append(options, grpc.WithPerRPCCredentials(testBearer(secret)))
	}
	conn, err := grpc.NewClient(s.address, options...)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	return conn
}

type testBearer string

func (b testBearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{authorizationKey: bearer + string(b)}, nil
}

func (testBearer) RequireTransportSecurity() bool { return true }

// admin is a caller with an admin's certificate. It waits until the coordinator answers.
func (s *secured) admin() *grpc.ClientConn {
	s.Helper()
	conn := s.caller(s.own.issue(trellisv1.Role_ROLE_ADMIN, "ann"), "")
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, err := trellisv1.NewStudyServiceClient(conn).ListStudies(s.Context(), &trellisv1.ListStudiesRequest{},
			grpc.WaitForReady(true))
		if err == nil {
			return conn
		}
		if time.Since(began) > 20*time.Second {
			s.Fatal(err)
		}
	}
}

// newToken has an admin make a token.
func (s *secured) newToken(
	admin *grpc.ClientConn, role trellisv1.Role, name string, life time.Duration,
) (id, secret string) {
	s.Helper()
	created, err := trellisv1.NewAccessServiceClient(admin).CreateToken(s.Context(), &trellisv1.CreateTokenRequest{
		Role: role, Name: name, ExpireTime: timestamppb.New(time.Now().Add(life)),
	})
	if err != nil {
		s.Fatal(err)
	}
	return created.GetToken().GetId(), created.GetSecret()
}

// call makes an empty call of a method and returns what it ends with. That of a method that may be called is another
// error than those of who may not, or nil.
func call(t *testing.T, conn *grpc.ClientConn, method string) codes.Code {
	t.Helper()
	requests, responses, err := messagesOf(method)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// A stream can make unary calls too.
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err == nil {
		// A client of a stream may have nothing to say.
		if method != trellisv1.WorkerService_Session_FullMethodName {
			if err = stream.SendMsg(requests.New().Interface()); errors.Is(err, io.EOF) {
				err = nil // The call has ended already. RecvMsg says why.
			}
		}
		err = errors.Join(err, stream.CloseSend(), stream.RecvMsg(responses.New().Interface()))
	}
	if errors.Is(err, io.EOF) {
		return codes.OK
	}
	return status.Code(err)
}

// matrixCaller is somebody who calls every method.
type matrixCaller struct {
	certificate access.Files
	secret      string
	role        trellisv1.Role
	// wrong is what all calls end with that need a credential.
	wrong codes.Code
}

// matrixCallers returns callers of every role by certificate and by token, and those who have neither, or one that is good no
// more. other is another authority.
func (s *secured) matrixCallers(other *authority) map[string]matrixCaller {
	s.Helper()
	admin := s.admin()
	_, expired := s.newToken(admin, trellisv1.Role_ROLE_ADMIN, "expired", time.Second)
	id, revoked := s.newToken(admin, trellisv1.Role_ROLE_ADMIN, "revoked", time.Hour)
	if _, err := trellisv1.NewAccessServiceClient(admin).RevokeToken(s.Context(),
		&trellisv1.RevokeTokenRequest{Id: id}); err != nil {
		s.Fatal(err)
	}
	_, valid := s.newToken(admin, trellisv1.Role_ROLE_ADMIN, "valid", time.Hour)
	_, viewing := s.newToken(admin, trellisv1.Role_ROLE_VIEWER, "viewing", time.Hour)
	callers := map[string]matrixCaller{
		"nothing":       {wrong: codes.Unauthenticated},
		"expired token": {secret: expired, wrong: codes.Unauthenticated},
		"revoked token": {secret: revoked, wrong: codes.Unauthenticated},
		"forged token": {
			secret: valid[:len(valid)-1] + string(valid[len(valid)-1]^1), wrong: codes.Unauthenticated,
		},
		anotherAuthority: {
			certificate: other.issue(trellisv1.Role_ROLE_ADMIN, "eve"), wrong: codes.Unavailable,
		},
		// A token goes before a certificate: it gives nobody more than it says.
		"viewer's token with an admin's certificate": {
			certificate: s.own.issue(trellisv1.Role_ROLE_ADMIN, "adam"), secret: viewing, role: trellisv1.Role_ROLE_VIEWER,
		},
		"expired token with an admin's certificate": {
			certificate: s.own.issue(trellisv1.Role_ROLE_ADMIN, "alf"), secret: expired, wrong: codes.Unauthenticated,
		},
	}
	for role := trellisv1.Role_ROLE_VIEWER; role <= trellisv1.Role_ROLE_NODE; role++ {
		name := access.RoleName(role)
		callers[name+"'s certificate"] = matrixCaller{certificate: s.own.issue(role, "its-"+name), role: role}
		if role != trellisv1.Role_ROLE_NODE {
			_, secret := s.newToken(admin, role, "its-"+name, time.Hour)
			callers[name+"'s token"] = matrixCaller{secret: secret, role: role}
		}
	}
	whoAmI := trellisv1.AccessService_WhoAmI_FullMethodName
	late := s.caller(access.Files{}, expired)
	for began := time.Now(); call(s.T, late, whoAmI) != codes.Unauthenticated; {
		if time.Since(began) > time.Minute {
			s.Fatal("the first token has not expired within a minute")
		}
	}
	return callers
}

// anotherAuthority is the name of a caller whose connections fail.
const anotherAuthority = "another authority's"

// check says whether a caller's call of a method has ended as it should.
func (its matrixCaller) check(t *testing.T, name string, method method, got codes.Code) {
	t.Helper()
	denied := got == codes.Unauthenticated || got == codes.PermissionDenied || got == codes.Unimplemented
	switch {
	case name == anotherAuthority:
		// The connection itself fails.
		if got != codes.Unavailable {
			t.Errorf("%s: %s: %v", method.name, name, got)
		}
	case method.may.has(trellisv1.Role_ROLE_UNSPECIFIED):
		if denied {
			t.Errorf("%s, which is open to anyone: %s: %v", method.name, name, got)
		}
	case its.wrong != codes.OK:
		if got != its.wrong {
			t.Errorf("%s: %s: %v, want %v", method.name, name, got, its.wrong)
		}
	case method.may.has(its.role):
		if denied {
			t.Errorf("%s: %s may: %v", method.name, name, got)
		}
	case got != codes.PermissionDenied:
		t.Errorf("%s: %s may not: %v", method.name, name, got)
	}
}

// Every method, for every role by certificate and by token, and for who has neither, or one that is good no more.
func TestAccessMatrix(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	s := startSecured(t, own, Config{})
	for name, its := range s.matrixCallers(other) {
		conn := s.caller(its.certificate, its.secret)
		for _, method := range methods {
			its.check(t, name, method, call(t, conn, method.name))
		}
		if name == "admin's token" {
			if got := call(t, conn, trellisv1.StudyService_ListStudies_FullMethodName); got != codes.OK {
				t.Errorf("after all that an admin is told %v", got)
			}
		}
	}
	// What nobody has put into the table is refused to an admin too.
	err := s.admin().Invoke(t.Context(), "/trellis.v1.StudyService/Unknown", &trellisv1.GetStudyRequest{},
		&trellisv1.GetStudyResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
}

// Calls through followers: the leader knows who has called, and from where, and every node knows a token at once.
func TestCallersThroughFollowers(t *testing.T) {
	own := newAuthority(t)
	leader := startSecured(t, own, Config{Data: t.TempDir()})
	admin := leader.admin()
	a := startSecured(t, own, Config{Data: t.TempDir(), Join: []string{leader.address}})
	throughA := a.admin()
	b := startSecured(t, own, Config{Data: t.TempDir(), Join: []string{leader.address}})
	b.admin()

	id, secret := a.newToken(throughA, trellisv1.Role_ROLE_SUBMITTER, "sam", time.Hour)
	for name, node := range map[string]*secured{"leader": leader, "a": a, "b": b} {
		// Immediately: a follower may not have it yet.
		sam := node.caller(access.Files{}, secret)
		who, err := trellisv1.NewAccessServiceClient(sam).WhoAmI(t.Context(), &trellisv1.WhoAmIRequest{})
		if err != nil || who.GetPrincipal().GetName() != "sam" || who.GetToken().GetId() != id ||
			who.GetToken().GetHash() != nil {
			t.Errorf("%s knows %v, %v", name, who, err)
		}
		if _, err := trellisv1.NewStudyServiceClient(sam).CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{
			Spec: syntheticSpec("through-"+name, []uint32{4}, []uint32{2}),
		}); err != nil {
			t.Errorf("through %s: %v", name, err)
		}
		if got := call(t, sam, trellisv1.AccessService_ListTokens_FullMethodName); got != codes.PermissionDenied {
			t.Errorf("through %s a submitter lists tokens: %v", name, got)
		}
	}
	listed, err := trellisv1.NewAccessServiceClient(admin).ListEvents(t.Context(), &trellisv1.ListEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, event := range listed.GetEvents() {
		got[fmt.Sprintf("%v from %s: %s", access.FromMessage(event.GetPrincipal()), event.GetAddress(),
			event.GetMethod())]++
	}
	want := map[string]int{
		`node "127.0.0.1" from 127.0.0.1: AddNode`:    2,
		`admin "ann" from 127.0.0.1: CreateToken`:     1,
		`submitter "sam" from 127.0.0.1: CreateStudy`: 3,
	}
	for text, count := range want {
		// A node asks again until it knows that it was added.
		if got[text] != count && !(strings.HasSuffix(text, "AddNode") && got[text] > count) {
			t.Errorf("%d events %s, want %d, of %v", got[text], text, count, got)
		}
	}
	// A node is believed when it forwards, a worker that says the same is not. See TestCallersMustSayWhoTheyAre.

	sam := b.caller(access.Files{}, secret)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// A follower may not have it yet.
		_, err := trellisv1.NewStudyServiceClient(sam).GetStudy(t.Context(), &trellisv1.GetStudyRequest{Study: "through-a"})
		if err == nil {
			break
		}
		if status.Code(err) != codes.NotFound || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	watch, err := trellisv1.NewStudyServiceClient(sam).WatchStudy(t.Context(),
		&trellisv1.WatchStudyRequest{Study: "through-a"})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trellisv1.NewAccessServiceClient(admin).RevokeToken(t.Context(),
		&trellisv1.RevokeTokenRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	// At once for what the leader serves, also through a node that has not heard of it.
	if got := call(t, sam, trellisv1.StudyService_CreateStudy_FullMethodName); got != codes.Unauthenticated {
		t.Errorf("a revoked token through a follower: %v", got)
	}
	began := time.Now()
	for err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unauthenticated || time.Since(began) > time.Minute {
		t.Errorf("the stream of a revoked token, after %v: %v", time.Since(began), err)
	}
}
