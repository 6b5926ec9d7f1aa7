package coordinator

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// authority makes the certificates of a test.
type authority struct {
	*testing.T
	*access.Authority
	folder string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	made, pair, err := access.NewAuthority(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{T: t, Authority: made, folder: t.TempDir()}
	a.write("authority", pair)
	return a
}

func (a *authority) write(name string, pair access.Pair) {
	a.Helper()
	for suffix, content := range map[string][]byte{".crt": pair.Certificate, ".key": pair.Key} {
		// Renamed, so that nobody reads half of it.
		path := filepath.Join(a.folder, name+suffix)
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			a.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			a.Fatal(err)
		}
	}
}

// issue makes a certificate and returns its files.
func (a *authority) issue(role trellisv1.Role, name string, hosts ...string) access.Files {
	a.Helper()
	return a.issueUntil(time.Now().Add(time.Hour), role, name, hosts...)
}

func (a *authority) issueUntil(until time.Time, role trellisv1.Role, name string, hosts ...string) access.Files {
	a.Helper()
	pair, err := a.Issue(access.Principal{Role: role, Name: name}, hosts, until)
	if err != nil {
		a.Fatal(err)
	}
	a.write(name, pair)
	return a.files(name)
}

func (a *authority) files(name string) access.Files {
	return access.Files{
		Authority: filepath.Join(a.folder, "authority.crt"), Certificate: filepath.Join(a.folder, name+".crt"),
		Key: filepath.Join(a.folder, name+".key"),
	}
}

// pair returns a certificate for a connection.
func (a *authority) pair(files access.Files) []tls.Certificate {
	a.Helper()
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		a.Fatal(err)
	}
	return []tls.Certificate{pair}
}

// listenTLS serves a port with TLS on a real socket.
func listenTLS(t *testing.T, files access.Files) *port {
	t.Helper()
	certificates, err := access.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPort(listener, dialSecurely(dialTCP, certificates), slog.New(slog.DiscardHandler))
	p.certificates = certificates
	served := make(chan error, 1)
	go func() { served <- p.serve() }()
	t.Cleanup(func() {
		p.close()
		certificates.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return p
}

// Only nodes speak to nodes: no worker, nobody without a certificate, no node of another authority's.
func TestOnlyNodesSpeakToNodes(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	p := listenTLS(t, own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1"))
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		accepted     bool
	}{
		"a node":                      {own.pair(own.issue(trellisv1.Role_ROLE_NODE, "b", "127.0.0.1")), true},
		"nobody":                      {nil, false},
		"a worker":                    {own.pair(own.issue(trellisv1.Role_ROLE_WORKER, "w")), false},
		"an admin":                    {own.pair(own.issue(trellisv1.Role_ROLE_ADMIN, "ada")), false},
		"a node of another authority": {other.pair(other.issue(trellisv1.Role_ROLE_NODE, "b", "127.0.0.1")), false},
		"a node of the past": {
			own.pair(own.issueUntil(time.Now().Add(-time.Minute), trellisv1.Role_ROLE_NODE, "c", "127.0.0.1")), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			//nolint:gosec // The test is of the other end.
			conn, err := tls.Dial("tcp", p.listener.Addr().String(), &tls.Config{
				InsecureSkipVerify: true, Certificates: test.certificates,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(nodePreface)); err != nil {
				t.Fatal(err)
			}
			if test.accepted {
				accepted, err := p.nodes.Accept()
				if err != nil {
					t.Fatal(err)
				}
				accepted.Close()
				return
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err = conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it ended with %v", err)
			}
			select {
			case accepted := <-p.nodes.conns:
				t.Error("it was accepted")
				accepted.Close()
			default:
			}
		})
	}
}

// A node makes sure that it speaks to a node, at the address that it has dialed.
func TestANodeKnowsItsPeers(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	certificates, err := access.Open(own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer certificates.Close()
	for name, test := range map[string]struct {
		files access.Files
		want  bool
	}{
		"a node":                      {own.issue(trellisv1.Role_ROLE_NODE, "b", "127.0.0.1"), true},
		"a node elsewhere":            {own.issue(trellisv1.Role_ROLE_NODE, "c", "c.example.org"), false},
		"a node of another authority": {other.issue(trellisv1.Role_ROLE_NODE, "b", "127.0.0.1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := listenTLS(t, test.files)
			conn, err := dialSecurely(dialTCP, certificates)(t.Context(), p.listener.Addr().String())
			if (err == nil) != test.want {
				t.Errorf("dialing ended with %v", err)
			}
			if err == nil {
				conn.Close()
			}
		})
	}
}

// A certificate is good until it expires, also on connections that were there before.
func TestConnectionsEndWithTheirCertificates(t *testing.T) {
	own := newAuthority(t)
	p := listenTLS(t, own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1"))
	expiry := time.Now().Add(2 * time.Second)
	//nolint:gosec // The test is of the other end.
	conn, err := tls.Dial("tcp", p.listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true,
		Certificates:       own.pair(own.issueUntil(expiry, trellisv1.Role_ROLE_NODE, "b", "127.0.0.1")),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(nodePreface)); err != nil {
		t.Fatal(err)
	}
	accepted, err := p.nodes.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	conn.SetReadDeadline(expiry.Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("it ended with %v", err)
	}
	// Certificates have whole seconds. How late it is depends on the machine too.
	if late := time.Since(expiry); late < -time.Second {
		t.Errorf("it ended %v before the certificate", -late)
	}
}

// whoAmI answers health checks with the caller.
type whoAmI struct {
	grpc_health_v1.UnimplementedHealthServer
	callers chan access.Principal
}

func (w whoAmI) Check(
	ctx context.Context, _ *grpc_health_v1.HealthCheckRequest,
) (*grpc_health_v1.HealthCheckResponse, error) {
	caller, _, err := access.FromPeer(ctx)
	w.callers <- caller
	return &grpc_health_v1.HealthCheckResponse{}, err
}

// A call knows the certificate of its connection.
func TestCallsKnowTheCertificate(t *testing.T) {
	own := newAuthority(t)
	p := listenTLS(t, own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1"))
	server := grpc.NewServer(grpc.Creds(access.ServerCredentials()))
	service := whoAmI{callers: make(chan access.Principal, 1)}
	grpc_health_v1.RegisterHealthServer(server, service)
	go func() { _ = server.Serve(p.calls) }()
	defer server.Stop()
	ada := own.issue(trellisv1.Role_ROLE_VIEWER, "ada")
	for _, test := range []struct {
		certificates []tls.Certificate
		want         access.Principal
	}{
		{nil, access.Principal{}},
		{own.pair(ada), access.Principal{Role: trellisv1.Role_ROLE_VIEWER, Name: "ada"}},
	} {
		//nolint:gosec // The test is of the other end.
		conn, err := grpc.NewClient(p.listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(
			&tls.Config{InsecureSkipVerify: true, Certificates: test.certificates})))
		if err != nil {
			t.Fatal(err)
		}
		_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := <-service.callers; got != test.want {
			t.Errorf("the caller is %v, want %v", got, test.want)
		}
	}
}

// An authority is replaced: while both are trusted nobody notices, and after that the old one's certificates are cut,
// also on connections that were there before.
func TestConnectionsEndWithTheirAuthority(t *testing.T) {
	t.Parallel()
	own, next := newAuthority(t), newAuthority(t)
	_, address := serveTLS(t, Config{TLS: own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1")}, func(*Coordinator) {})
	certificateOf := func(one *authority) []byte {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(one.folder, "authority.crt"))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	oldOne, newOne := certificateOf(own), certificateOf(next)
	trust := func(authorities ...[]byte) {
		t.Helper()
		all := bytes.Join(authorities, nil)
		path := filepath.Join(own.folder, "authority.crt")
		if err := errors.Join(os.WriteFile(path+".new", all, 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	watch := func(certificates []tls.Certificate) (ended chan error) {
		t.Helper()
		//nolint:gosec // The test is of the other end.
		conn := connectTLS(t, address, &tls.Config{InsecureSkipVerify: true, Certificates: certificates})
		stream, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		go func() {
			for {
				if _, err := stream.Recv(); err != nil {
					ended <- err
					return
				}
			}
		}()
		return ended
	}
	goesOn := func(what string, ended chan error, patience time.Duration) {
		t.Helper()
		select {
		case err := <-ended:
			t.Errorf("%s: a connection ended with %v", what, err)
		case <-time.After(patience):
		}
	}
	stolen := watch(own.pair(own.issue(trellisv1.Role_ROLE_WORKER, "w")))
	trust(oldOne, newOne)
	goesOn("both are trusted", stolen, 3*time.Second)
	kept := watch(next.pair(next.issue(trellisv1.Role_ROLE_WORKER, "w")))
	trust(newOne)
	began := time.Now()
	select {
	case <-stolen:
		t.Logf("it was cut after %v", time.Since(began))
	case <-time.After(30 * time.Second):
		t.Error("a certificate of the old authority is still good")
	}
	goesOn("the new one is trusted", kept, 2*time.Second)
}
