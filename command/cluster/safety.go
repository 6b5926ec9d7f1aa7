package cluster

import (
	"fmt"

	"trellis/command/output"
)

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
		return fmt.Sprintf("%s Only %d of them %s: no changes are possible until %d do.", text, len(rows)-absent,
			output.Verb(len(rows)-absent, "responds", "respond"), majority)
	case !led:
		return text + " It currently has no leader."
	case absent > 0:
		more := "it cannot lose another"
		if left := len(rows) - absent - majority; left > 0 {
			more = fmt.Sprintf("it can lose %d more", left)
		}
		return fmt.Sprintf("%s %d of them %s not respond: %s.", text, absent, output.Verb(absent, "does", "do"), more)
	default:
		return text
	}
}

// describeSize says how many nodes a cluster has, and how many of them it can lose.
func describeSize(nodes int) string {
	switch lose := (nodes - 1) / 2; {
	case nodes == 1:
		return "The cluster has one node: while it is down, workers and commands wait for it."
	case lose == 0:
		return fmt.Sprintf("The cluster has %d nodes and needs all of them: with another node, it can lose one.",
			nodes)
	case lose == 1:
		return fmt.Sprintf("The cluster has %d nodes and can lose any one of them.", nodes)
	default:
		return fmt.Sprintf("The cluster has %d nodes and can lose any %d of them.", nodes, lose)
	}
}
