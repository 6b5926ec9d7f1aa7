// Package coordinator implements one node. It listens, opens the log, routes calls to the node that serves them, and
// leads when it is elected. A single coordinator does all of this alone. Several coordinators are the nodes of a
// cluster: one leads, and the others follow and can take over.
//
// Every change of state is a command in a [Log]. The state machine applies it to the store of package results, and does
// nothing else. Package api implements the calls, and package lead what a leader does. The leader's loops compare the
// store with what workers and others have been told, and act on the difference. So nothing is lost when a process dies
// between a change and its effect: the next loop, on this node or another, sees the difference again.
//
//	api          the services: check a request, answer from a snapshot or put a command into the log
//	lead         the leader's loops: grant, record, expire, settle, collect
//	replication  the log, on a majority's disks
//	artifact     checkpoints, stored by content
//	digest       the digests of large studies, before somebody asks for them
//	forecast     how much work of a study remains, and how long it will take
//	access       who calls, and what they may do: roles, tokens, certificates
//	connection   how many connections there may be, and how much their clients may leave unread
//	quota        how much one peer and all of them may hold, and whose turn it is
//
// These packages do not know the node, and api and lead do not know each other. They declare what they need of the node as interfaces of their
// own (see rooms.go).
//
// DESIGN.md describes the log's commands, who acknowledges what and when, and how nodes work together.
package coordinator
