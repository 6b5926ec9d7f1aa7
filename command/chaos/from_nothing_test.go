package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// The commands in docs/cluster.md make a cluster with TLS and tokens from nothing, and a study is trained on it.
// Meanwhile all certificates and the token are replaced.
func TestClusterFromNothing(t *testing.T) {
	parallel(t)
	f := newFleet(t)
	commands := documented(t, "## With TLS and tokens")
	if len(commands) > 8 {
		t.Errorf("it takes %d commands, want 8 at most", len(commands))
	}
	f.certificates = filepath.Join(f.dir, "certificates")
	places := []string{"certificates/", f.certificates + "/", "worker.token", filepath.Join(f.dir, "worker.token")}
	names := map[string]string{}
	for n, machine := range []string{"a", "b", "c"} {
		host := fmt.Sprintf("127.0.0.%d", n+1)
		names[machine] = host
		places = append(places, machine+":7070", fake.FreeAddressAt(t, host), "node-"+machine+".", "node-"+host+".")
	}
	replace := strings.NewReplacer(places...)
	var coordinators []*process
	var token []string
	for _, command := range commands {
		args := strings.Fields(replace.Replace(command))[1:]
		for i, arg := range args {
			if host := names[arg]; host != "" {
				args[i] = host
			}
		}
		switch args[0] {
		case "certificates":
			runBinary(t, append(args, "--folder", f.certificates)...)
		case "coordinator":
			name := fmt.Sprintf("coordinator-%d", len(coordinators)+1)
			p := f.newProcess(name, append(args, "--data", filepath.Join(f.dir, name+"-data"))...)
			p.address = args[2]
			p.start()
			coordinators = append(coordinators, p)
			f.newClient(p.address).awaitServing(t)
		case "tokens":
			token = args
			runBinary(t, args...)
		case "worker":
			p := f.newProcess(fmt.Sprintf("worker-%d", len(f.processes)), append(args, "--cache-dir",
				filepath.Join(f.dir, "cache"), "--slots", "2")...)
			p.start()
		}
	}
	c := f.newClient(coordinators[0].address)
	f.awaitWorkers(c, 2)
	access := trellisv1.NewAccessServiceClient(c.conn)
	var r *record
	// On a machine that stalls, a study may end before everything was replaced: a longer one does not.
	for runs, ended := 100, true; ended; runs *= 2 {
		spec := synthetic(fmt.Sprint("nothing-", runs), 20*time.Millisecond, gridOf(runs, 10))
		spec.Seeds = integers(uint32(runs)) // No study answers another.
		r = newRecord(spec, true)
		if acknowledged, err := r.change(t.Context(), c, running); !acknowledged {
			t.Fatal(err)
		}
		f.replaceAll(access, token)
		study, err := c.getStudy(t.Context(), spec.GetName())
		if err != nil {
			t.Fatal(err)
		}
		if ended = study.GetState() == completed; ended && runs > 1000 {
			t.Fatalf("a study of %d runs has ended before everything was replaced", runs)
		}
	}
	if err := r.follow(t.Context(), f.newClient(coordinators[0].address)); err != nil {
		t.Error(err)
	}
	// A follower may be a moment behind the node that was followed.
	eventually(t, func() error { return r.check(t.Context(), f.newClient(coordinators[2].address)) })
	f.awaitWorkers(f.newClient(coordinators[1].address), 2)
}

// replaceAll replaces all certificates and the workers' token, which that command makes.
func (f *fleet) replaceAll(access trellisv1.AccessServiceClient, command []string) {
	f.Helper()
	tokens, err := access.ListTokens(f.Context(), &trellisv1.ListTokensRequest{})
	if err != nil || len(tokens.GetTokens()) != 1 {
		f.Fatalf("tokens: %v, %v", tokens, err)
	}
	f.certify("node", "127.0.0.1", "127.0.0.2", "127.0.0.3")
	if err := os.Remove(filepath.Join(f.dir, "worker.token")); err != nil {
		f.Fatal(err)
	}
	runBinary(f.T, command...)
	request := &trellisv1.RevokeTokenRequest{Id: tokens.GetTokens()[0].GetId()}
	if _, err := access.RevokeToken(f.Context(), request); err != nil {
		f.Fatal(err)
	}
}

// runBinary runs the binary once.
func runBinary(t *testing.T, args ...string) {
	t.Helper()
	if output, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, output)
	}
}

// documented are the first commands under a heading of docs/cluster.md.
func documented(t *testing.T, heading string) (commands []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), heading+"\n")
	if !found {
		t.Fatalf("docs/cluster.md has no section %q", heading)
	}
	for line := range strings.Lines(section) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && len(commands) > 0 && strings.HasSuffix(commands[len(commands)-1], "\\"):
			last := &commands[len(commands)-1]
			*last = strings.TrimSuffix(*last, "\\") + strings.TrimSpace(command)
		case indented:
			commands = append(commands, strings.TrimSpace(command))
		case len(commands) > 0:
			return commands
		}
	}
	return commands
}
