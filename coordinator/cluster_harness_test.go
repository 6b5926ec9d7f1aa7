package coordinator

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"trellis/coordinator/replication"
	"trellis/coordinator/replication/memnet"
	trellisv1 "trellis/proto/trellis/v1"
)

// cluster is several coordinators on a network in memory, under a fake clock.
type cluster struct {
	*testing.T
	ctx     context.Context
	network *memnet.Network
	client  *memnet.Endpoint
	nodes   map[string]*node
}

// node is one of them, with clients to its services. A node that is started again has what it had.
type node struct {
	*harness
	address string
	memory  *replication.Memory
	data    string
	// slow is how long each write to the node's disk takes, in nanoseconds.
	slow    *atomic.Int64
	served  chan error
	health  grpc_health_v1.HealthClient
	manager trellisv1.ClusterServiceClient
}

// simulate runs the test with a network and no nodes.
func simulate(t *testing.T, test func(*cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		network := memnet.New()
		client, err := network.Listen("client:1")
		if err != nil {
			t.Fatal(err)
		}
		c := &cluster{T: t, ctx: ctx, network: network, client: client, nodes: map[string]*node{}}
		defer func() {
			network.Heal()
			for _, n := range c.nodes {
				for _, disconnect := range n.disconnects {
					disconnect()
				}
			}
			for _, n := range c.nodes {
				n.stop()
			}
			cancel()
			client.Close()
		}()
		test(c)
	})
}

// simulateThree runs the test with three nodes, of which it gives the leader first.
func simulateThree(t *testing.T, test func(c *cluster, leader, a, b *node)) {
	t.Helper()
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{})
		c.await("one leads", func() bool { return one.leader.Leads() })
		c.start("two:1", Config{Join: []string{"one:1"}})
		c.start("three:1", Config{Join: []string{"nobody:1", "two:1", "one:1"}})
		c.await("three nodes are ready", func() bool {
			for _, n := range c.nodes {
				if view := n.view.Load(); !view.ready || len(n.cluster().GetNodes()) != 3 {
					return false
				}
			}
			return true
		})
		test(c, one, c.nodes["two:1"], c.nodes["three:1"])
	})
}

// await waits until the condition holds.
func (c *cluster) await(what string, condition func() bool) {
	c.Helper()
	for began := time.Now(); !condition(); {
		if time.Since(began) > time.Minute {
			c.Fatalf("waited for a minute, and not yet: %s", what)
		}
		<-time.After(10 * time.Millisecond) // The clock is synctest's.
	}
}

// start starts a node, which goes on from where it was if it has been stopped.
func (c *cluster) start(address string, config Config) *node {
	c.Helper()
	name, _, _ := strings.Cut(address, ":")
	return c.startAs(address, "id-"+name, config)
}

// startAs starts a node that has the id if it is new.
func (c *cluster) startAs(address, id string, config Config) *node {
	c.Helper()
	n := &node{address: address, served: make(chan error, 1)}
	if before := c.nodes[address]; before != nil {
		n.memory, n.data, n.slow = before.memory, before.data, before.slow
	} else {
		n.memory, n.data, n.slow = replication.NewMemory(id), c.TempDir(), &atomic.Int64{}
		n.memory.Write = func() error {
			<-time.After(time.Duration(n.slow.Load())) // The clock is synctest's.
			return nil
		}
	}
	endpoint, err := c.network.Listen(address)
	if err != nil {
		c.Fatal(err)
	}
	config.Models = testModels
	config.Numerics, config.Data, config.Version = testNumerics, n.data, "v-"+address
	if config.MinFreeDisk == 0 {
		config.MinFreeDisk = 1
	}
	log := &hookedLog{}
	config.hooks = hooks{
		dial: dialThrough(endpoint),
		log: func(wrapped Log) Log {
			log.Log = wrapped
			return log
		},
		replicate: func(config *replication.Config) { config.Dir, config.Memory = "", n.memory },
	}
	coordinator, err := New(config, endpoint, memoryDataSets{})
	if err != nil {
		c.Fatal(err)
	}
	serving, cancel := context.WithCancel(context.Background())
	go func() { n.served <- coordinator.Serve(serving) }()
	conn, err := grpc.NewClient("passthrough:"+address, grpc.WithContextDialer(dialThrough(c.client)),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.Fatal(err)
	}
	stopped := false
	n.harness = &harness{
		T: c.T, Coordinator: coordinator, log: log, ctx: c.ctx,
		stop: func() {
			if stopped {
				return
			}
			stopped = true
			cancel()
			if err := <-n.served; err != nil {
				c.Errorf("%s served until: %v", address, err)
			}
			conn.Close()
		},
		studies:  trellisv1.NewStudyServiceClient(conn),
		trials:   trellisv1.NewTrialServiceClient(conn),
		dataSets: trellisv1.NewDataSetServiceClient(conn),
		workers:  newPartsClient(conn),
	}
	n.health, n.manager = grpc_health_v1.NewHealthClient(conn), trellisv1.NewClusterServiceClient(conn)
	c.nodes[address] = n
	return n
}

// dialThrough opens connections from an endpoint. As on every machine, localhost is the endpoint itself.
func dialThrough(endpoint *memnet.Endpoint) dialer {
	return func(ctx context.Context, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "localhost:") {
			address = endpoint.Addr().String()
		}
		timeout := time.Minute
		if deadline, ok := ctx.Deadline(); ok {
			timeout = time.Until(deadline)
		}
		return endpoint.Dial(address, timeout)
	}
}

// cluster is what the node says of its cluster.
func (n *node) cluster() *trellisv1.GetClusterResponse {
	n.Helper()
	response, err := n.manager.GetCluster(n.Context(), &trellisv1.GetClusterRequest{})
	if err != nil {
		n.Fatalf("get the cluster from %s: %v", n.address, err)
	}
	return response
}

// is returns the state of one of the node's services.
func (n *node) is(service string) grpc_health_v1.HealthCheckResponse_ServingStatus {
	n.Helper()
	response, err := n.health.Check(n.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		n.Fatalf("check the health of %q of %s: %v", service, n.address, err)
	}
	return response.GetStatus()
}

// leader waits for one of the nodes to lead.
func (c *cluster) leader(among ...*node) (leader *node) {
	c.Helper()
	c.await("one leads", func() bool {
		for _, n := range among {
			if n.leader.Leads() {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}
