// Package lead implements what a coordinator does while it leads. Each loop compares the store with what workers and
// others have been told, and acts on the difference:
//
//	dispatcher   PENDING runs and free slots in the store  ->  grants in the log
//	host         attempts in the store                     ->  assignments and stop orders to one worker
//	recorder     what workers send                         ->  records in the log, with grants for the slots that become
//	                                                           free, then acknowledgements
//	leases       silent workers, runs without progress     ->  lost workers and hung attempts in the log
//	settler      contenders that have no further seed      ->  extensions of their study in the log
//	timekeeper   studies whose budget of time is over      ->  their ends in the log
//	sharer       studies that share in parts               ->  the next parts in the log
//	deliverer    events that hooks want              ->  requests to them, and what became of these in the log
//	collector    references in the store                   ->  artifacts deleted
//	data         data sets of unfinished studies           ->  studies that wait for theirs, in memory
//
// Everything ends with the leader's term. What is only in memory (when each worker was last heard from, on which
// workers runs fail, which data sets are missing, what waits for the log) is then lost. Nobody needs it: the next
// leader finds it out again.
//
// A [Leader] creates the parts and knows all of them. Each part knows a store, a log, and only those other parts that
// its own interfaces name.
package lead
