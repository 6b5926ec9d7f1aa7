package chaos

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// secure makes certificates as users do, and has all processes of the fleet that are made from now on use them.
func (f *fleet) secure(hosts ...string) {
	f.Helper()
	f.certificates = filepath.Join(f.dir, "certificates")
	f.certify("authority")
	f.certify("node", append([]string{"127.0.0.1"}, hosts...)...)
	f.certify("worker", "chaos")
}

// certify makes certificates, in place of what is there.
func (f *fleet) certify(kind string, args ...string) {
	f.Helper()
	args = append([]string{"certificates", kind, "--folder", f.certificates, "--force"}, args...)
	if output, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		f.Fatalf("%q: %v\n%s", args, err, output)
	}
}

// certified are the flags of a process that has a certificate, none if the fleet has none.
func (f *fleet) certified(name string) []string {
	if f.certificates == "" {
		return nil
	}
	return []string{
		"--authority", filepath.Join(f.certificates, "authority.crt"),
		"--certificate", filepath.Join(f.certificates, name+".crt"),
	}
}

// newClient returns a client that connects as processes of the fleet do, with an admin's certificate if they have some.
func (f *fleet) newClient(address string) *client {
	f.Helper()
	if f.certificates == "" {
		return newClient(f.T, address)
	}
	authority, err := os.ReadFile(filepath.Join(f.certificates, "authority.crt"))
	if err != nil {
		f.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	admin := filepath.Join(f.certificates, "client-admin")
	pair, err := tls.LoadX509KeyPair(admin+".crt", admin+".key")
	if err != nil {
		f.Fatal(err)
	}
	return newClient(f.T, address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair},
	})))
}

// All certificates of three coordinators and two workers are replaced while studies are trained, and the first ones expire:
// connections end and begin again with the others, no attempt fails and nothing is lost. Who comes with a certificate that
// has expired is refused.
func TestRotatedCertificates(t *testing.T) {
	parallel(t)
	random := newRandom(t)
	f := newFleet(t)
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	f.secure(hosts[1:]...)
	const lifetime = 20 * time.Second
	issue := func(expires time.Duration) {
		f.certify("node", append(hosts, "--expires", expires.String())...)
		f.certify("worker", "chaos", "--expires", expires.String())
	}
	first := time.Now()
	issue(lifetime)
	stale := filepath.Join(f.certificates, "worker-stale")
	for _, suffix := range []string{".crt", ".key"} {
		content, err := os.ReadFile(filepath.Join(f.certificates, "worker-chaos") + suffix)
		if err == nil {
			err = os.WriteFile(stale+suffix, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var nodes []*process
	for n, host := range hosts {
		nodes = append(nodes, f.newCoordinatorAt(fmt.Sprintf("node-%d", n+1), host, "--checkpoint-interval", "100ms"))
	}
	k := f.startCluster(nodes)
	for n := range 2 {
		f.newWorker(fmt.Sprintf("worker-%d", n+1), k.addresses(), "--slots", "2").start()
	}
	u := newUsers(f, k.clients...)
	u.calm = true
	u.start(random, 3)
	pause(t.Context(), between(random, 0, 2*time.Second))
	issue(time.Hour)
	pause(t.Context(), time.Until(first.Add(lifetime+3*time.Second)))
	late := f.newWorker("late", k.addresses())
	late.args = append(late.args[:len(late.args)-4], "--authority", filepath.Join(f.certificates, "authority.crt"),
		"--certificate", stale+".crt")
	late.start()
	if code := late.await(); code != 2 || !strings.Contains(late.said(), "expired on") {
		t.Errorf("the worker with the certificate that has expired has ended with code %d:\n%s", code, late.said())
	}
	u.finish()
	k.checkEnd(u)
	for _, node := range nodes {
		if !strings.Contains(node.said(), "certificate expires soon") || !strings.Contains(node.said(), "has another certificate") {
			t.Errorf("%s does not say that its certificate expires, or was replaced", node.name)
		}
	}
	reconnected := false
	for _, worker := range f.processes {
		reconnected = reconnected || strings.HasPrefix(worker.name, "worker-") && strings.Contains(worker.said(), "lost the coordinator")
	}
	if !reconnected {
		t.Error("no worker has lost its connection when its first certificate expired")
	}
}
