package coordinator

import (
	"context"
	"time"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// diskInterval is how often a leader looks whether its disk has room for new studies.
	diskInterval = 5 * time.Second
	// diskTimeout is how long another node may take to say whether its own has.
	diskTimeout = 2 * time.Second
	// diskMargin is the share of its disk that a node must have free beyond what it must keep, to be made the leader.
	diskMargin = 0.02
)

// DiskSpace returns how many bytes of the disk of a data directory are free, and with how few a node refuses new studies. minFree
// is as in Config.
func DiskSpace(data string, minFree uint64) (free, reserve uint64, err error) {
	return api.DiskSpace(data, minFree)
}

// yieldWhenDiskIsLow makes another node the leader while this one leads and would refuse new studies for lack of disk, if
// another would take them.
func (c *Coordinator) yieldWhenDiskIsLow(ctx context.Context) {
	ticker := time.NewTicker(diskInterval)
	defer ticker.Stop()
	alone := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !c.leader.Leads() || !api.DiskLow(c.config.Data, c.config.MinFreeDisk) {
			alone = false
			continue
		}
		node := c.nodeWithRoom(ctx)
		if node == "" {
			if !alone {
				c.logger.Warn("the disk is low: new studies are refused, and no other node of the cluster has more room",
					"data", c.config.Data)
			}
			alone = true
			continue
		}
		if err := c.replicated.TransferLeadership(ctx, node); err != nil {
			c.logger.Warn("the disk is low, but another node could not be made the leader", "node", node, "error", err)
			continue
		}
		c.logger.Warn("the disk is low: another node leads now, which has room for new studies", "node", node,
			"data", c.config.Data)
	}
}

// nodeWithRoom returns the address of the follower with the largest share of its disk free among those that would take new
// studies, or nothing.
func (c *Coordinator) nodeWithRoom(ctx context.Context) string {
	others, err := self{c}.Others()
	if err != nil {
		return ""
	}
	best, most := "", -1.0
	for _, address := range others {
		if share, ok := room(c.statusOf(ctx, address)); ok && share > most {
			best, most = address, share
		}
	}
	return best
}

// room returns the share of a node's disk that is free, and whether the node is a follower that would take new studies for
// a while: it has diskMargin beyond what it must keep, so that it need not hand over in turn. One that can't say how large
// its disk is has a disk that is broken.
func room(own *trellisv1.NodeStatus) (share float64, ok bool) {
	free, size := float64(own.GetDiskFree()), float64(own.GetDiskSize())
	if own.GetRole() != trellisv1.NodeRole_NODE_ROLE_FOLLOWER || own.GetDiskLow() || size == 0 {
		return 0, false
	}
	return free / size, free >= float64(own.GetDiskReserve())+diskMargin*size
}

// statusOf asks another node how it is. It returns nil if that does not answer.
func (c *Coordinator) statusOf(ctx context.Context, address string) *trellisv1.NodeStatus {
	ctx, cancel := context.WithTimeout(c.outgoing(ctx), diskTimeout)
	defer cancel()
	conn, done, err := c.peers.connect(address)
	if err != nil {
		return nil
	}
	defer done()
	response, err := trellisv1.NewClusterServiceClient(conn).GetCluster(ctx, &trellisv1.GetClusterRequest{})
	if err != nil {
		return nil
	}
	return response.GetStatus()
}
