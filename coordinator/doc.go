// Package coordinator expands studies into runs, leases the runs to workers and records what they report. One coordinator
// does that alone; several are the nodes of a cluster, of which one leads, and the others follow and take over.
//
// Every change of state is a command in a [Log]; the state machine applies it to the store of package results, and does
// nothing else. Effects come from the leader's loops, each of which compares what the store says with what the world has
// been told, and closes the difference:
//
//	dispatcher   PENDING runs and free slots in the store  ->  grants in the log
//	session      attempts in the store                     ->  assignments and stop orders to one worker
//	recorder     what sessions receive                     ->  records in the log, then acknowledgements
//	leases       silence and standstill                    ->  lost workers and hung attempts in the log
//	settler      contenders that have no further seed      ->  extensions of their study in the log
//	collector    references in the store                   ->  artifacts deleted
//
// So nothing is lost when a process dies between a change and its effect: the next loop, here or on another node, sees the
// difference again.
//
// DESIGN.md says what the log's commands are, who acknowledges what and when, and what nodes owe each other.
package coordinator
