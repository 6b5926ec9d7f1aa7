// Package lead has what a coordinator does while it leads. Each loop compares what the store says with what the world
// has been told, and closes the difference:
//
//	dispatcher   PENDING runs and free slots in the store  ->  grants in the log
//	host         attempts in the store                     ->  assignments and stop orders to one worker
//	recorder     what workers send                         ->  records in the log, then acknowledgements
//	leases       silence and standstill                    ->  lost workers and hung attempts in the log
//	settler      contenders that have no further seed      ->  extensions of their study in the log
//	collector    references in the store                   ->  artifacts deleted
//	data         data sets of unfinished studies           ->  studies that wait for theirs, in memory
//
// All of it ends with the leader's term. What is in memory only (who was heard when, on which worker runs fail,
// which data sets are missing, what waits for the log) is lost then, and nobody needs it: the next leader finds out again.
//
// A [Leader] makes the parts and knows all of them. A part knows a store, a log, and of the other parts what its own
// interfaces say.
package lead
