package dial

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Connections to other machines are encrypted unless someone has said otherwise, and names count as other machines.
func TestEncryption(t *testing.T) {
	given, insecure := Credentials{Authority: "authority.crt"}, Credentials{Insecure: true}
	for _, test := range []struct {
		address     string
		credentials Credentials
		want        bool
	}{
		{"127.0.0.1:7070", Credentials{}, false},
		{"127.9.9.9:7070", Credentials{}, false},
		{"[::1]:7070", Credentials{}, false},
		{"localhost:7070", Credentials{}, false},
		{":7070", Credentials{}, false},
		{"unix:/run/trellis", Credentials{}, false},
		{"dns:///localhost:7070", Credentials{}, false},
		{"dns:///host:7070", Credentials{}, true},
		{"host:7070", Credentials{}, true},
		{"localhost.example.org:7070", Credentials{}, true},
		{"10.0.0.1:7070", Credentials{}, true},
		{"0.0.0.0:7070", Credentials{}, true},
		{"127.0.0.1:7070,host:7070", Credentials{}, true},
		{"host:7070", insecure, false},
		{"127.0.0.1:7070", given, true},
		// A flag that also concerns --metrics does not take the encryption away.
		{"host:7070", Credentials{Certificate: "worker.crt", Key: "worker.key", Insecure: true}, true},
	} {
		nodes, err := Nodes(test.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.credentials.Encrypts(nodes); got != test.want {
			t.Errorf("%s with %+v: encrypted %t, want %t", test.address, test.credentials, got, test.want)
		}
	}
}

// selfSigned is a certificate for 127.0.0.1 that is its own authority, and the file with it.
func selfSigned(t *testing.T, expires time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: expires, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "authority.crt")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encoded})
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{encoded}, PrivateKey: key}, path
}

// A mistake is told from an outage, which goes on silently.
func TestMistakes(t *testing.T) {
	good, authority := selfSigned(t, time.Now().Add(time.Hour))
	expired, past := selfSigned(t, time.Now().Add(-time.Minute))
	_, stranger := selfSigned(t, time.Now().Add(time.Hour))
	for name, test := range map[string]struct {
		server     tls.Certificate
		clientCert tls.ClientAuthType
		host       string
		authority  string
		want       Kind
	}{
		"right":             {good, tls.NoClientCert, "127.0.0.1", authority, 0},
		"unknown authority": {good, tls.NoClientCert, "127.0.0.1", stranger, UnknownAuthority},
		"expired":           {expired, tls.NoClientCert, "127.0.0.1", past, Expired},
		"another name":      {good, tls.NoClientCert, "localhost", authority, WrongName},
		"refused":           {good, tls.RequireAnyClientCert, "127.0.0.1", authority, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{test.server}, ClientAuth: test.clientCert,
				NextProtos: []string{"h2"},
			})
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			grpc_health_v1.RegisterHealthServer(server, &node{address: "here"})
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = server.Serve(listener)
			}()
			defer func() {
				server.Stop()
				<-served
			}()
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			conn, err := NewClient(net.JoinHostPort(test.host, port), First, Credentials{Authority: test.authority})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			answered := make(chan error, 1)
			go func() {
				_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{},
					grpc.WaitForReady(true))
				answered <- err
			}()
			select {
			case mistake := <-conn.Mistakes():
				if mistake.Kind != test.want {
					t.Errorf("the mistake is %d: %v, want %d", mistake.Kind, mistake, test.want)
				}
			case err := <-answered:
				if test.want != 0 || errors.As(err, new(*Mistake)) {
					t.Errorf("it was answered with %v, want mistake %d", err, test.want)
				}
			case <-time.After(20 * time.Second):
				t.Error("no answer")
			}
		})
	}
}
