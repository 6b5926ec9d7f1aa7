// Package replication keeps the log that all changes go through: durable on one node, or on a majority of several.
//
// A [Log] is hashicorp/raft over raft-wal, with what these leave to their user: a first boot that may be killed at any
// instant, a disk whose first error or standstill ends the node instead of its promises, and backups. The log's owner
// gives it a [StateMachine] and a [Network], proposes commands, and watches two channels: [Log.Leadership] says when
// this node leads, [Log.Failed] says that the process must end.
//
// DESIGN.md has the data directory, the formats, and what holds when.
package replication
