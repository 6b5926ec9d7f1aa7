package cluster

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

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
		ID: s.GetId(), Address: s.GetAddress(), Role: output.EnumWord(s.GetRole()), Term: s.GetTerm(),
		LastIndex: s.GetLastIndex(), CommitIndex: s.GetCommitIndex(), AppliedIndex: s.GetAppliedIndex(),
		SnapshotIndex: s.GetSnapshotIndex(), Version: s.GetVersion(), DiskFree: s.GetDiskFree(),
		DiskSize: s.GetDiskSize(),
	}
	if s.SinceContact != nil {
		seconds := s.GetSinceContact().AsDuration().Seconds()
		row.SecondsSinceContact = &seconds
	}
	return row
}

// clusterRows asks each node of a cluster for its own state. answer is what one of them has said. One that belongs to
// no cluster yet is the only row.
func clusterRows(ctx context.Context, c *client.Client, answer *trellisv1.GetClusterResponse) []nodeRow {
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
		asked.Go(func() { rows[i] = askNode(ctx, c, node) })
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
func askNode(ctx context.Context, c *client.Client, node *trellisv1.Node) nodeRow {
	answer, err := c.AskNode(ctx, node.GetAddress())
	if err == nil && answer.GetStatus().GetId() != node.GetId() {
		err = fmt.Errorf("another node responds at its address: %s", answer.GetStatus().GetId())
	}
	if err != nil {
		return nodeRow{ID: node.GetId(), Address: node.GetAddress(), Role: unreachable, Error: exit.Text(err)}
	}
	return newNodeRow(answer.GetStatus())
}

// writeNodes writes the nodes in one of the formats.
func writeNodes(out io.Writer, format output.Format, rows []nodeRow) error {
	document := struct {
		Nodes []nodeRow `json:"nodes" yaml:"nodes"`
	}{rows}
	switch format {
	case output.JSON, output.YAML:
		return output.WriteDocument(out, format, document)
	case output.CSV:
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
			contact = output.PlainNumber(*row.SecondsSinceContact)
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
	table := output.NewTable()
	table.AppendHeader([]any{"id", "address", "role", "term", "applied", "lag", "last contact", "version", "disk free"})
	for _, row := range rows {
		if row.Role == unreachable {
			table.AppendRow([]any{row.ID, row.Address, row.Role})
			continue
		}
		contact := ""
		if row.SecondsSinceContact != nil {
			contact = output.ShortDuration(time.Duration(*row.SecondsSinceContact*float64(time.Second))) + " ago"
		}
		disk := ""
		if row.DiskSize > 0 {
			disk = fmt.Sprintf("%s (%d%%)", output.ShortBytes(row.DiskFree), row.DiskFree*100/row.DiskSize)
		}
		table.AppendRow([]any{
			row.ID, row.Address, row.Role, row.Term, row.AppliedIndex, row.Lag, contact, row.Version,
			disk,
		})
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}
