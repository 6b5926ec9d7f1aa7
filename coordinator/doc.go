// Package coordinator is one node: it listens, opens the log, routes calls to who answers them, and leads when the
// cluster has it lead. One coordinator does all of that alone; several are the nodes of a cluster, of which one leads,
// and the others follow and take over.
//
// Every change of state is a command in a [Log]; the state machine applies it to the store of package results, and does
// nothing else. What calls mean is in the room api, and what a leader does in lead: its loops compare what the store
// says with what the world has been told, and close the difference. So nothing is lost when a process dies between a
// change and its effect: the next loop, here or on another node, sees the difference again.
//
//	api          the services: check a request, answer from a snapshot or put a command into the log
//	lead         the leader's loops: grant, record, expire, settle, collect
//	replication  the log, on a majority's disks
//	artifact     what studies produce besides numbers
//	forecast     what is still to come of a study
//
// The rooms know neither the node nor each other. What they need of it they take as interfaces of their own (see
// rooms.go).
//
// DESIGN.md says what the log's commands are, who acknowledges what and when, and what nodes owe each other.
package coordinator
