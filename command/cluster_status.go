package command

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// nodeTimeout bounds how long cluster status waits for one node.
const nodeTimeout = 3 * time.Second

// nodeRow is one node of a cluster as cluster status shows it. Its field names are those of -o json, yaml and csv.
type nodeRow struct {
	ID      string `json:"id" yaml:"id"`
	Address string `json:"address" yaml:"address"`
	// Role is leader, follower, candidate, waiting, or unreachable: then all that follows is unknown.
	Role string `json:"role" yaml:"role"`
	Term uint64 `json:"term" yaml:"term"`
	// LastIndex, CommitIndex, AppliedIndex and SnapshotIndex are as in NodeStatus.
	LastIndex     uint64 `json:"last_index" yaml:"last_index"`
	CommitIndex   uint64 `json:"commit_index" yaml:"commit_index"`
	AppliedIndex  uint64 `json:"applied_index" yaml:"applied_index"`
	SnapshotIndex uint64 `json:"snapshot_index" yaml:"snapshot_index"`
	// Lag is how many entries that a majority has are not in the node's store.
	Lag uint64 `json:"lag" yaml:"lag"`
	// SecondsSinceContact is since a follower has heard from the leader; nil where that does not apply.
	SecondsSinceContact *float64 `json:"seconds_since_contact" yaml:"seconds_since_contact"`
	Version             string   `json:"version" yaml:"version"`
	// DiskFree and DiskSize are of the data directory's file system, in bytes.
	DiskFree uint64 `json:"disk_free" yaml:"disk_free"`
	DiskSize uint64 `json:"disk_size" yaml:"disk_size"`
	// Error is why an unreachable node does not answer.
	Error string `json:"error,omitempty" yaml:"error,omitempty"`
}

// The roles that a node has in the eyes of others.
const (
	// unreachable is a node that does not answer.
	unreachable = "unreachable"
	// waiting is a node that belongs to no cluster yet.
	waiting = "waiting"
)

// newNodeRow is what a node says of itself.
func newNodeRow(s *trellisv1.NodeStatus) nodeRow {
	row := nodeRow{
		ID: s.GetId(), Address: s.GetAddress(), Role: plainState(s.GetRole().String(), "NODE_ROLE_"), Term: s.GetTerm(),
		LastIndex: s.GetLastIndex(), CommitIndex: s.GetCommitIndex(), AppliedIndex: s.GetAppliedIndex(),
		SnapshotIndex: s.GetSnapshotIndex(), Version: s.GetVersion(), DiskFree: s.GetDiskFree(), DiskSize: s.GetDiskSize(),
	}
	if s.SinceContact != nil {
		seconds := s.GetSinceContact().AsDuration().Seconds()
		row.SecondsSinceContact = &seconds
	}
	return row
}

// clusterRows asks each node of a cluster for its own state. answer is what one of them has said. One that belongs to no
// cluster yet is the only row.
func clusterRows(ctx context.Context, answer *trellisv1.GetClusterResponse) []nodeRow {
	if len(answer.GetNodes()) == 0 {
		row := newNodeRow(answer.GetStatus())
		row.Role = waiting
		return []nodeRow{row}
	}
	rows := make([]nodeRow, len(answer.GetNodes()))
	var asked sync.WaitGroup
	for i, node := range answer.GetNodes() {
		if node.GetId() == answer.GetStatus().GetId() {
			rows[i] = newNodeRow(answer.GetStatus())
			continue
		}
		asked.Go(func() { rows[i] = askNode(ctx, node) })
	}
	asked.Wait()
	var commit uint64
	for _, row := range rows {
		commit = max(commit, row.CommitIndex)
	}
	for i := range rows {
		if rows[i].Role != unreachable {
			rows[i].Lag = commit - min(commit, rows[i].AppliedIndex)
		}
	}
	return rows
}

// askNode returns what a node says of itself, or that it does not answer.
func askNode(ctx context.Context, node *trellisv1.Node) nodeRow {
	answer, err := askCluster(ctx, node.GetAddress())
	if err == nil && answer.GetStatus().GetId() != node.GetId() {
		err = fmt.Errorf("another node answers at its address: %s", answer.GetStatus().GetId())
	}
	if err != nil {
		return nodeRow{ID: node.GetId(), Address: node.GetAddress(), Role: unreachable, Error: errorText(err)}
	}
	return newNodeRow(answer.GetStatus())
}

// askCluster asks the node at an address for its own state, and for its cluster as it knows it.
func askCluster(ctx context.Context, address string) (*trellisv1.GetClusterResponse, error) {
	c, err := newClient(address, io.Discard)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.reach(ctx, nodeTimeout, true); err != nil {
		return nil, err
	}
	return call(ctx, nodeTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
}

// writeNodes writes the nodes in one of the formats.
func writeNodes(out io.Writer, format outputFormat, rows []nodeRow) error {
	document := struct {
		Nodes []nodeRow `json:"nodes" yaml:"nodes"`
	}{rows}
	switch format {
	case formatJSON:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(document)
	case formatYAML:
		data, err := encodeYAML(document)
		if err != nil {
			return err
		}
		_, err = out.Write(data)
		return err
	case formatCSV:
		return writeNodesCSV(out, rows)
	default:
		return writeNodesTable(out, rows)
	}
}

func writeNodesCSV(out io.Writer, rows []nodeRow) error {
	w := csv.NewWriter(out)
	records := [][]string{{
		"id", "address", "role", "term", "last_index", "commit_index", "applied_index", "snapshot_index", "lag",
		"seconds_since_contact", "version", "disk_free", "disk_size", "error",
	}}
	for _, row := range rows {
		contact := ""
		if row.SecondsSinceContact != nil {
			contact = plainNumber(*row.SecondsSinceContact)
		}
		record := []string{row.ID, row.Address, row.Role}
		for _, number := range []uint64{
			row.Term, row.LastIndex, row.CommitIndex, row.AppliedIndex, row.SnapshotIndex, row.Lag,
		} {
			record = append(record, strconv.FormatUint(number, 10))
		}
		record = append(record, contact, row.Version, strconv.FormatUint(row.DiskFree, 10),
			strconv.FormatUint(row.DiskSize, 10), row.Error)
		records = append(records, record)
	}
	return w.WriteAll(records)
}

func writeNodesTable(out io.Writer, rows []nodeRow) error {
	table := newTable()
	table.AppendHeader([]any{"id", "address", "role", "term", "applied", "lag", "last contact", "version", "disk free"})
	for _, row := range rows {
		if row.Role == unreachable {
			table.AppendRow([]any{row.ID, row.Address, row.Role})
			continue
		}
		contact := ""
		if row.SecondsSinceContact != nil {
			contact = shortDuration(time.Duration(*row.SecondsSinceContact*float64(time.Second))) + " ago"
		}
		disk := ""
		if row.DiskSize > 0 {
			disk = fmt.Sprintf("%s (%d%%)", shortBytes(row.DiskFree), row.DiskFree*100/row.DiskSize)
		}
		table.AppendRow([]any{row.ID, row.Address, row.Role, row.Term, row.AppliedIndex, row.Lag, contact, row.Version, disk})
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// describeSafety says in a sentence how many of its nodes a cluster can lose, and what is wrong with it now.
func describeSafety(rows []nodeRow) string {
	absent := 0
	led := false
	for _, row := range rows {
		led = led || row.Role == "leader"
		if row.Role == unreachable {
			absent++
		}
	}
	majority := len(rows)/2 + 1
	text := describeSize(len(rows))
	switch {
	case len(rows)-absent < majority:
		return fmt.Sprintf("%s Only %d of them %s: nothing can be changed until %d do.", text, len(rows)-absent,
			verb(len(rows)-absent, "answers", "answer"), majority)
	case !led:
		return text + " It has no leader at the moment."
	case absent > 0:
		more := "it can lose no other"
		if left := len(rows) - absent - majority; left > 0 {
			more = fmt.Sprintf("it can lose %d more", left)
		}
		return fmt.Sprintf("%s %d of them %s not answer: %s.", text, absent, verb(absent, "does", "do"), more)
	default:
		return text
	}
}

// describeSize says how many nodes a cluster has, and how many of them it can lose.
func describeSize(nodes int) string {
	switch lose := (nodes - 1) / 2; {
	case nodes == 1:
		return "The cluster has one node: while it is away, workers and commands wait for it."
	case lose == 0:
		return fmt.Sprintf("The cluster has %d nodes and needs all of them: add another, so that it can lose one.", nodes)
	case lose == 1:
		return fmt.Sprintf("The cluster has %d nodes and goes on without any one of them.", nodes)
	default:
		return fmt.Sprintf("The cluster has %d nodes and goes on without any %d of them.", nodes, lose)
	}
}

func verb(number int, one, many string) string {
	if number == 1 {
		return one
	}
	return many
}

// shortBytes writes a size for people: 512 B, 1.5 MiB, 20 GiB.
func shortBytes(bytes uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	size, unit := float64(bytes), -1
	for size >= 1024 && unit+1 < len(units) {
		size /= 1024
		unit++
	}
	if size < 9.95 {
		return fmt.Sprintf("%.1f %s", size, units[unit])
	}
	return fmt.Sprintf("%.0f %s", size, units[unit])
}

// leaderOf returns the address of the cluster's leader, empty if there is none at the moment.
func leaderOf(nodes []*trellisv1.Node) string {
	i := slices.IndexFunc(nodes, (*trellisv1.Node).GetLeader)
	if i < 0 {
		return ""
	}
	return nodes[i].GetAddress()
}
