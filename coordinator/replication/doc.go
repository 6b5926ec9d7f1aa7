// Package replication implements the log that all changes go through. An entry is durable on the one node, or on a
// majority of several.
//
// A [Log] is hashicorp/raft over raft-wal, plus what these leave to their user. The first start may be killed at any
// moment. When the disk first fails or hangs, the node ends instead of breaking its promises. And there are backups.
// The log's owner gives it a [StateMachine] and a [Network], proposes commands, and watches two channels:
// [Log.Leadership] says when this node leads, and [Log.Failed] says that the process must end.
//
// DESIGN.md describes the data directory, the formats, and the guarantees.
package replication
