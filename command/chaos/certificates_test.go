package chaos

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
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

// All certificates of three coordinators and two workers are replaced while studies are trained, and the first ones
// expire: connections end and begin again with the others, no attempt fails and nothing is lost. Who comes with a
// certificate that has expired is refused. Raced are TestClusterFromNothing, which replaces certificates too, and the
// coordinator's tests of connections that end with their certificates.
func TestRotatedCertificates(t *testing.T) {
	skipRaced(t)
	parallel(t)
	random := newRandom(t)
	// A machine that is too slow for the first ones to be used before they expire gets some that last longer.
	for lifetime := 8 * time.Second; !rotateCertificates(t, random, lifetime) && !t.Failed(); lifetime *= 2 {
		if lifetime > 2*patience {
			t.Fatalf("three coordinators have not started within %v", lifetime/2)
		}
	}
}

// rotateCertificates does it with first certificates of a lifetime. They are replaced after half of it. It returns
// false if the processes have not all connected before.
func rotateCertificates(t *testing.T, random *rand.Rand, lifetime time.Duration) bool {
	f := newFleet(t)
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	f.secure(hosts[1:]...)
	// What replaces the first ones is made before them: then that takes no time.
	names := []string{"worker-chaos.crt", "worker-chaos.key"}
	for _, host := range hosts {
		names = append(names, "node-"+host+".crt", "node-"+host+".key")
	}
	move := func(suffix, to string) (err error) {
		for _, name := range names {
			path := filepath.Join(f.certificates, name)
			err = errors.Join(err, os.Rename(path+suffix, path+to))
		}
		return err
	}
	if err := move("", ".second"); err != nil {
		t.Fatal(err)
	}
	first := time.Now()
	f.certify("node", append(hosts, "--expires", lifetime.String())...)
	f.certify("worker", "chaos", "--expires", lifetime.String())
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
	replaced := make(chan error, 1)
	// Not after the start: that may take longer.
	time.AfterFunc(time.Until(first.Add(lifetime/2)), func() { replaced <- move(".second", "") })
	var nodes []*process
	for n, host := range hosts {
		nodes = append(nodes, f.newCoordinatorAt(fmt.Sprintf("node-%d", n+1), host, "--checkpoint-interval", "100ms"))
	}
	k := f.startCluster(nodes)
	var workers []*process
	for n := range 2 {
		worker := f.newWorker(fmt.Sprintf("worker-%d", n+1), k.addresses(), "--slots", "2")
		worker.start()
		workers = append(workers, worker)
	}
	f.awaitWorkers(k.clients[0], len(workers))
	connected := time.Now()
	u := newUsers(f, k.clients...)
	u.calm = true
	u.start(random, 3)
	if err := <-replaced; err != nil {
		t.Fatal(err)
	}
	if connected.After(first.Add(lifetime/2)) || time.Now().After(first.Add(lifetime)) {
		t.Logf("certificates of %v are too short here", lifetime)
		u.finish()
		f.killAll()
		return false
	}
	pause(t.Context(), time.Until(first.Add(lifetime+time.Second)))
	late := f.newWorker("late", k.addresses())
	late.args = append(late.args[:len(late.args)-4], "--authority", filepath.Join(f.certificates, "authority.crt"),
		"--certificate", stale+".crt")
	late.start()
	if code := late.await(); code != 2 || !strings.Contains(late.said(), "expired on") {
		t.Errorf("the worker with the certificate that has expired has ended with code %d:\n%s", code, late.said())
	}
	for _, node := range nodes {
		f.awaitSaid(node, "certificate expires soon")
		f.awaitSaid(node, "has another certificate")
	}
	for _, worker := range workers {
		f.awaitSaid(worker, "lost the coordinator")
	}
	u.finish()
	k.checkEnd(u)
	return true
}

// awaitSaid waits until a process has written something.
func (f *fleet) awaitSaid(p *process, text string) {
	f.Helper()
	eventually(f.T, func() error {
		if !strings.Contains(p.said(), text) {
			return fmt.Errorf("%s does not say %q", p.name, text)
		}
		return nil
	})
}
