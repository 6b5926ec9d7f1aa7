package doctor

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/cli"
	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

const gib = 1 << 30

func TestFindingsGolden(t *testing.T) {
	golden.CheckListing(t, "findings", func(format string, out *bytes.Buffer) error {
		return writeFindings(out, output.Format(format), []finding{
			{"data directory", fine, "/var/lib/trellis is writable", ""},
			{"disk space", warning, "19 GiB free, of which 10 GiB are kept for running studies", "free disk space"},
			{"--listen", fault, ":7070 is taken by nginx (process 12)", "stop that, or choose another with --listen"},
		})
	})
}

// examine runs doctor about a cluster, without the machine.
func examine(t *testing.T, args ...string) []finding {
	t.Helper()
	cmd := &cobra.Command{}
	options := cli.ClientFlags(cmd, time.Minute)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return checkCluster(t.Context(), &cli.Environment{Version: "v1"}, options)
}

// healthy are three nodes that serve, of which the first leads, and their addresses with commas between.
func healthy(t *testing.T) (nodes []*fake.Coordinator, addresses []string) {
	var members []*trellisv1.Node
	for i, id := range []string{"a", "b", "c"} {
		status := &trellisv1.NodeStatus{
			Id: id, Role: trellisv1.NodeRole_NODE_ROLE_FOLLOWER, Version: "v1", CommitIndex: 5000, AppliedIndex: 5000,
			DiskFree: 100 * gib, DiskSize: 200 * gib, DiskReserve: 16 * gib,
			SinceContact: durationpb.New(time.Second / 5),
		}
		if i == 0 {
			status.Role, status.SinceContact = trellisv1.NodeRole_NODE_ROLE_LEADER, nil
		}
		node := &fake.Coordinator{
			Cluster: &trellisv1.GetClusterResponse{Status: status},
			Workers: []*trellisv1.Worker{{Name: "w1", State: trellisv1.WorkerState_WORKER_STATE_READY, Version: "v1"}},
		}
		nodes, addresses = append(nodes, node), append(addresses, node.Serve(t))
		status.Address = addresses[i]
		members = append(members, &trellisv1.Node{Id: id, Address: addresses[i], Leader: i == 0})
	}
	for _, node := range nodes {
		node.Cluster.Nodes = members
	}
	return nodes, addresses
}

func TestHealthyCluster(t *testing.T) {
	_, addresses := healthy(t)
	findings := examine(t, "--coordinator", strings.Join(addresses, ","))
	for _, f := range findings {
		// A clock may differ by how long a loaded machine takes, which is within.
		if f.State != fine || f.Advice != "" {
			t.Errorf("%+v", f)
		}
	}
	expect(t, find(t, findings, "cluster"), fine, "3 of 3 nodes can be reached, "+addresses[0]+" leads", "")
	if len(findings) != 12 {
		t.Errorf("got %d findings, want 12: %v", len(findings), findings)
	}
}

// Each fault of a cluster is found, and something is to be done about it.
func TestFaultsOfACluster(t *testing.T) {
	worker := func(name string) *trellisv1.Worker {
		return &trellisv1.Worker{Name: name, State: trellisv1.WorkerState_WORKER_STATE_READY, Version: "v1"}
	}
	for _, test := range []struct {
		name, check string
		make        func(first, second *fake.Coordinator)
		state       state
		found       string
		advice      string
	}{
		{
			"no leader", "cluster", func(first, _ *fake.Coordinator) { first.Cluster.Nodes[0].Leader = false },
			fault, "none leads", "2 are needed",
		},
		{
			"two nodes", "cluster", func(first, _ *fake.Coordinator) { first.Cluster.Nodes = first.Cluster.Nodes[:2] },
			warning, "2 of 2 nodes", "add or remove a node",
		},
		{
			"one is away", "cluster",
			func(first, _ *fake.Coordinator) { first.Cluster.Nodes[1].Address = "127.0.0.1:1" },
			warning, "2 of 3 nodes", "the next node that is lost",
		},
		{
			"one is away", "node 127.0.0.1:1",
			func(first, _ *fake.Coordinator) { first.Cluster.Nodes[1].Address = "127.0.0.1:1" },
			fault, "can't be reached: no coordinator at 127.0.0.1:1: connection refused", "cluster remove 127.0.0.1:1",
		},
		{
			"a stranger", "node B", func(first, _ *fake.Coordinator) { first.Cluster.Nodes[1].Id = "other" },
			fault, "another node responds", "",
		},
		{
			"in no cluster", "cluster", func(first, _ *fake.Coordinator) { first.Cluster.Nodes = nil },
			warning, "in no cluster", "trellis cluster add",
		},
		{"a candidate", "node B", func(_, second *fake.Coordinator) {
			second.Cluster.Status.Role = trellisv1.NodeRole_NODE_ROLE_CANDIDATE
		}, fault, "not in touch", "reaches the other nodes"},
		{"no contact", "node B", func(_, second *fake.Coordinator) {
			second.Cluster.Status.SinceContact = durationpb.New(time.Minute)
		}, fault, "for 1m0s", "reaches the other nodes"},
		{
			"behind", "node B", func(_, second *fake.Coordinator) { second.Cluster.Status.AppliedIndex = 3000 },
			warning, "2000 entries behind", "too slow",
		},
		{"low disk", "node B disk", func(_, second *fake.Coordinator) {
			second.Cluster.Status.DiskFree, second.Cluster.Status.DiskLow = 15*gib, true
		}, fault, "15 GiB of 200 GiB free", "refused"},
		{
			"disk getting low", "node B disk",
			func(_, second *fake.Coordinator) { second.Cluster.Status.DiskFree = 20 * gib },
			warning, "20 GiB", "before new studies",
		},
		{
			"unreadable disk", "node B disk", func(_, second *fake.Coordinator) { second.Cluster.Status.DiskSize = 0 },
			fault, "can't be read", "node's log",
		},
		{
			"a fast clock", "node B clock", func(_, second *fake.Coordinator) { second.Ahead = time.Hour },
			fault, " ahead of this machine's", "chrony",
		},
		{
			"a slow clock", "node B clock", func(_, second *fake.Coordinator) { second.Ahead = -time.Hour },
			fault, " behind this machine's", "chrony",
		},
		{
			"an older node", "versions", func(_, second *fake.Coordinator) { second.Cluster.Status.Version = "v0" },
			warning, "v0: node ", "upgrade the older ones",
		},
		{
			"an older worker", "versions", func(first, _ *fake.Coordinator) { first.Workers[0].Version = "v0" },
			warning, "v0: 1 worker", "upgrade the older ones",
		},
		{
			"no workers", "workers", func(first, _ *fake.Coordinator) { first.Workers = nil },
			warning, "there are none", "start one",
		},
		{"a lost worker", "workers lost", func(first, _ *fake.Coordinator) {
			first.Workers[0].State = trellisv1.WorkerState_WORKER_STATE_LOST
		}, warning, "w1", "SIGTERM"},
		{"none is ready", "workers", func(first, _ *fake.Coordinator) {
			first.Workers[0].State = trellisv1.WorkerState_WORKER_STATE_LOST
		}, warning, "0 ready, 1 lost", "start a worker"},
		{"an avoided worker", "workers avoided", func(first, _ *fake.Coordinator) {
			first.Workers = append(first.Workers, worker("w2"))
			first.Workers[1].Avoided = []*trellisv1.Avoidance{{}}
		}, warning, "w2", "trellis workers"},
		{"a wrong worker", "workers wrong", func(first, _ *fake.Coordinator) {
			first.Workers = append(first.Workers, worker("w2"))
			first.Workers[1].Wrong = &trellisv1.WrongLosses{}
		}, fault, "w2", "check memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes, addresses := healthy(t)
			test.make(nodes[0], nodes[1])
			findings := examine(t, "--coordinator", addresses[0])
			f := find(t, findings, strings.Replace(test.check, "B", addresses[1], 1))
			expect(t, f, test.state, test.found, test.advice)
		})
	}
	t.Run("nobody", func(t *testing.T) {
		var f finding
		// A machine that stalls does not find out in so short a time why there is no connection.
		const why = "connection refused"
		for wait := 50 * time.Millisecond; wait < time.Minute && !strings.Contains(f.Found, why); wait *= 2 {
			f = find(t, examine(t, "--coordinator", fake.FreeAddress(t), "--wait", wait.String()), "cluster")
		}
		if f.State != fault || !strings.Contains(f.Found, why) {
			t.Errorf("%+v", f)
		}
	})
}

// What is uncertain of a difference between clocks does not count.
func TestClock(t *testing.T) {
	for _, test := range []struct {
		clock clock
		state state
	}{
		{clock{time.Second, time.Millisecond}, fine},
		{clock{1100 * time.Millisecond, time.Millisecond}, warning},
		{clock{-1100 * time.Millisecond, time.Millisecond}, warning},
		{clock{10 * time.Second, 9500 * time.Millisecond}, fine},
		{clock{-time.Hour, time.Second}, fault},
	} {
		if f := test.clock.check("clock"); f.State != test.state {
			t.Errorf("%v: got %+v", test.clock, f)
		}
	}
}

// Certificates that have expired or soon will are found.
func TestCertificates(t *testing.T) {
	folder := t.TempDir()
	issue := func(name string, from time.Duration) string {
		t.Helper()
		_, pair, err := access.NewAuthority(time.Now().Add(from))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pair.Certificate, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name   string
		until  time.Duration
		state  state
		found  string
		advice string
	}{
		{"good", 365 * 24 * time.Hour, fine, "valid until", ""},
		{"soon", 13 * 24 * time.Hour, warning, "valid until", "make it again"},
		{"expired", -time.Hour, fault, "expired on", "make it again"},
	} {
		path := issue(test.name, test.until)
		findings := examine(t, "--coordinator", fake.FreeAddress(t), "--wait", "50ms", "--authority", path)
		expect(t, find(t, findings, "certificate "+path), test.state, test.found, test.advice)
	}
}

// The certificate that a node shows is found too, though nobody can connect to it any more.
func TestCertificateOfANode(t *testing.T) {
	until := time.Now().Add(time.Hour)
	authority, itsPair, err := access.NewAuthority(until)
	if err != nil {
		t.Fatal(err)
	}
	principal := access.Principal{Role: trellisv1.Role_ROLE_NODE, Name: "a"}
	pair, err := authority.Issue(principal, []string{"127.0.0.1"}, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	defer func() {
		listener.Close()
		<-done
	}()
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).HandshakeContext(t.Context())
			conn.Close()
		}
	}()
	path := filepath.Join(t.TempDir(), "authority.crt")
	if err := os.WriteFile(path, itsPair.Certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	findings := examine(t, "--coordinator", address, "--wait", "1m", "--authority", path)
	expect(t, find(t, findings, "node "+address+" certificate"), fault, "expired on",
		"trellis certificates node 127.0.0.1 --force")
	if f := find(t, findings, "cluster"); f.State != fault || !strings.Contains(f.Found, "expired") {
		t.Errorf("%+v", f)
	}
}
