package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
)

// introductionTimeout is how long a node that is being added may take to identify itself.
const introductionTimeout = 5 * time.Second

// minRestoreRate is how much of a backup must come in a second, on average and in bytes, once restoreGrace is over. A
// backup takes disk space while it is received, and only one is received at a time.
const (
	minRestoreRate = 64 << 10
	restoreGrace   = time.Minute
)

var errInMemory = status.Error(codes.FailedPrecondition,
	"this coordinator's log is in memory, so it can't be replicated or backed up: start it with a data "+
		"directory (--data)")

// errRestored is what workers are told after a backup was restored.
var errRestored = status.Error(codes.Unavailable, "the coordinator was restored from a backup: connect again")

// clusterService manages the nodes that replicate the log.
type clusterService struct {
	trellisv1.UnimplementedClusterServiceServer
	// link is where people find what is served over HTTP.
	address, version, link string
	// join has the nodes that this one is to join.
	join   []string
	disk   disk
	node   Node
	log    Log
	logger *slog.Logger
}

// note leaves the event of a change that is not in the log. The change has been made: if it can't be noted, it is logged.
func (s clusterService) note(ctx context.Context, subject string) {
	_, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_Note{
		Note: &trellisv1.NoteCommand{Subject: subject},
	}})
	if err != nil {
		call := access.CallOf(ctx)
		s.logger.Warn("could not record who has changed the cluster", "method", call.Method, "subject", subject,
			"principal", call.Principal, "address", call.Address, "error", err)
	}
}

// Node is what the services need of the node that they run on.
type Node interface {
	// Replicated returns the log if it can be replicated to other nodes, and nil if it is in memory.
	Replicated() *replication.Log
	// Applied returns the index of the last command that the store includes.
	Applied() uint64
	// Visit returns a connection for one call to an address that may not be a node's. done closes it.
	Visit(address string) (conn *grpc.ClientConn, done func(), err error)
	// WhilePaused does work while the leader's loops are paused. It ends all sessions with the error why.
	WhilePaused(ctx context.Context, why error, work func() error) error
}

// GetCluster returns the cluster as this node knows it, and this node's own state.
func (s clusterService) GetCluster(
	context.Context, *trellisv1.GetClusterRequest,
) (*trellisv1.GetClusterResponse, error) {
	own := &trellisv1.NodeStatus{Address: s.address, Version: s.version, Web: s.link, Time: timestamppb.Now()}
	response := &trellisv1.GetClusterResponse{Status: own}
	if s.node.Replicated() == nil {
		own.Role = trellisv1.NodeRole_NODE_ROLE_LEADER
		applied := s.node.Applied()
		own.LastIndex, own.CommitIndex, own.AppliedIndex = applied, applied, applied
		response.Nodes = []*trellisv1.Node{{Address: s.address, Leader: true}}
		return response, nil
	}
	nodes, err := s.node.Replicated().Nodes()
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "list the nodes: %v", err)
	}
	for _, node := range nodes {
		response.Nodes = append(response.Nodes, &trellisv1.Node{
			Id: node.ID, Address: node.Address, Leader: node.Leader,
		})
	}
	if len(nodes) == 0 {
		response.Join = slices.Compact(slices.Sorted(slices.Values(s.join)))
	}
	now := s.node.Replicated().Status()
	own.Id, own.Role, own.Term = now.ID, now.Role, now.Term
	own.LastIndex, own.CommitIndex, own.AppliedIndex, own.SnapshotIndex = now.LastIndex, now.CommitIndex,
		now.AppliedIndex, now.SnapshotIndex
	if free, size, err := s.disk.space(); err == nil {
		own.DiskFree, own.DiskSize = free, size
		own.DiskLow, own.DiskReserve = s.disk.low(free, size), s.disk.reserve(size)
	} else {
		s.logger.Warn("could not find the free disk space", "error", err)
	}
	if !now.LastContact.IsZero() {
		own.SinceContact = durationpb.New(time.Since(now.LastContact))
	}
	return response, nil
}

// AddNode adds a node to the cluster. It first asks the node to identify itself: a cluster with a member that does not
// exist may lose its majority.
func (s clusterService) AddNode(
	ctx context.Context, request *trellisv1.AddNodeRequest,
) (*trellisv1.AddNodeResponse, error) {
	if s.node.Replicated() == nil {
		return nil, errInMemory
	}
	id, address := request.GetId(), request.GetAddress()
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	if err := s.introduce(ctx, id, address); err != nil {
		return nil, err
	}
	if err := s.node.Replicated().AddNode(ctx, id, address); err != nil {
		return nil, Status(fmt.Errorf("add node %s at %s: %w", id, address, err))
	}
	s.note(ctx, id)
	return &trellisv1.AddNodeResponse{}, nil
}

// checkAddress refuses an address at which others can't reach a node. The message's rules say that it is host:port.
func checkAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if ip, err := netip.ParseAddr(host); err == nil && (ip.IsUnspecified() || ip.IsMulticast()) {
		return status.Errorf(codes.InvalidArgument, "invalid address %s: other nodes can't reach it: start the node with "+
			"an address that they can (--advertise)", address)
	}
	return nil
}

// introduce checks that the node with the id is reachable at the address, and belongs to no other cluster.
func (s clusterService) introduce(ctx context.Context, id, address string) error {
	if address == s.address {
		if own := s.node.Replicated().Status().ID; own != id {
			return status.Errorf(codes.FailedPrecondition, "%s is the leader's own address, whose id is %s, not %s",
				address, own, id)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, introductionTimeout)
	defer cancel()
	conn, done, err := s.node.Visit(address)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "connect to %s: %v", address, err)
	}
	defer done()
	answer, err := trellisv1.NewClusterServiceClient(conn).GetCluster(ctx, &trellisv1.GetClusterRequest{})
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "the leader, %s, can't reach a node at %s: %s: start the node "+
			"with an address that the others can reach (--advertise)", s.address, address,
			status.Convert(err).Message())
	}
	if found := answer.GetStatus().GetId(); found != id {
		return status.Errorf(codes.FailedPrecondition, "the node at %s has the id %q, not %q", address, found, id)
	}
	members, err := s.node.Replicated().Nodes()
	if err != nil {
		return status.Errorf(codes.Unavailable, "list the nodes: %v", err)
	}
	ours := map[string]bool{}
	for _, member := range members {
		ours[member.ID] = true
	}
	for _, other := range answer.GetNodes() {
		if !ours[other.GetId()] && other.GetId() != id || len(answer.GetNodes()) == 1 && !ours[id] {
			return status.Errorf(codes.FailedPrecondition, "the node at %s is already a member of another cluster: "+
				"empty its data directory, and start it with --join or --wait-to-be-added", address)
		}
	}
	return nil
}

// RemoveNode removes a node from the cluster.
func (s clusterService) RemoveNode(
	ctx context.Context, request *trellisv1.RemoveNodeRequest,
) (*trellisv1.RemoveNodeResponse, error) {
	if s.node.Replicated() == nil {
		return nil, errInMemory
	}
	if err := s.node.Replicated().RemoveNode(ctx, request.GetNode()); err != nil {
		return nil, Status(fmt.Errorf("remove node %s: %w", request.GetNode(), err))
	}
	s.note(ctx, request.GetNode())
	return &trellisv1.RemoveNodeResponse{}, nil
}

// TransferLeadership makes another node the leader.
func (s clusterService) TransferLeadership(
	ctx context.Context, request *trellisv1.TransferLeadershipRequest,
) (*trellisv1.TransferLeadershipResponse, error) {
	if s.node.Replicated() == nil {
		return nil, errInMemory
	}
	// Afterwards this node can't note it.
	s.note(ctx, request.GetNode())
	if err := s.node.Replicated().TransferLeadership(ctx, request.GetNode()); err != nil {
		return nil, Status(fmt.Errorf("transfer the leadership: %w", err))
	}
	return &trellisv1.TransferLeadershipResponse{}, nil
}

// Backup sends everything that is recorded, as of one moment.
func (s clusterService) Backup(_ *trellisv1.BackupRequest, stream trellisv1.ClusterService_BackupServer) error {
	if s.node.Replicated() == nil {
		return errInMemory
	}
	if err := s.node.Replicated().Backup(stream.Context(), &backupWriter{stream: stream}); err != nil {
		return Status(fmt.Errorf("make a backup: %w", err))
	}
	return nil
}

// backupWriter sends what is written to it.
type backupWriter struct {
	stream trellisv1.ClusterService_BackupServer
}

func (w *backupWriter) Write(data []byte) (int, error) {
	sent := 0
	for sent < len(data) {
		chunk := data[sent:min(sent+chunkBytes, len(data))]
		if err := w.stream.Send(&trellisv1.BackupResponse{Data: chunk}); err != nil {
			return sent, err
		}
		sent += len(chunk)
	}
	return sent, nil
}

// Restore replaces everything that is recorded with a backup. Everything in memory starts again, as with a new leader.
func (s clusterService) Restore(stream trellisv1.ClusterService_RestoreServer) error {
	if s.node.Replicated() == nil {
		return errInMemory
	}
	ctx := stream.Context()
	// The whole backup is received first, so that a slow sender holds up nobody.
	backup, err := s.node.Replicated().Receive(ctx, &restoreReader{stream: stream, began: time.Now()})
	if err == nil {
		defer backup.Discard()
		err = s.node.WhilePaused(ctx, errRestored, func() error { return backup.Restore(ctx) })
	}
	if err != nil {
		return Status(fmt.Errorf("restore a backup: %w", err))
	}
	s.note(ctx, "")
	s.logger.Warn("restored a backup: it replaced everything recorded")
	return stream.SendAndClose(&trellisv1.RestoreResponse{})
}

// restoreReader reads what is sent to it.
type restoreReader struct {
	stream   trellisv1.ClusterService_RestoreServer
	left     []byte
	began    time.Time
	received int64
}

func (r *restoreReader) Read(into []byte) (int, error) {
	for len(r.left) == 0 {
		request, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		r.left = request.GetData()
		r.received += int64(len(r.left))
		if took := time.Since(r.began); took > restoreGrace && r.received < int64(took.Seconds())*minRestoreRate {
			return 0, status.Errorf(codes.DeadlineExceeded, "only %d bytes have come in %v: send at least %d KiB/s",
				r.received, took.Round(time.Second), minRestoreRate>>10)
		}
	}
	n := copy(into, r.left)
	r.left = r.left[n:]
	return n, nil
}
