// Package results is the store of studies, runs, trials, losses and workers: go-memdb tables whose rows are the messages
// of trellisv1, the state machines that say how they may change, and the queries that rank, page and filter them.
//
// The store is what the replicated log feeds. A write is one command: it happens as a whole or not at all, depends on
// nothing but the store and its arguments (the command's log index and time among them), and has no effect but on the
// store. Replicas that apply the same log have the same Snapshot.Hash. Leader loops and API handlers read snapshots and
// wait on watch sets.
//
// Rows are immutable. A write copies what it is given, changes copies of what it has, and inserts them; readers get what
// is stored and must not change it.
//
// # State machines
//
// A study is RUNNING from its creation:
//
//	RUNNING <-> PAUSED            pause, resume
//	RUNNING -> COMPLETED          complete: every run has ended
//	RUNNING | PAUSED -> CANCELED  cancel
//
// A run is PENDING until it is granted to a worker, and again when an attempt has ended without an outcome that lasts:
//
//	PENDING -> LEASED             grant
//	LEASED -> PENDING             release: returned, paused, or failed within its budget
//	LEASED -> SUCCEEDED           succeed
//	LEASED -> FAILED              fail: the budget is used up
//	PENDING | LEASED -> CANCELED  cancel
//
// An attempt is one lease of a run. Its number is the log index of the grant, and a report or outcome counts only while
// that attempt holds the run. What attempts have reported stays: the next one repeats the same epochs with the same
// losses, bit for bit, before it adds to them.
//
// A trial is answered, SUCCEEDED, when its run reaches its max_epochs, or ends by itself before. Until then it is PENDING,
// RUNNING, FAILED or CANCELED as its run is.
//
// A worker registers as READY, or as DRAINING if it is about to leave:
//
//	READY -> DRAINING             drain
//	READY | DRAINING -> LOST      lose: its runs are charged with a failure
//	READY | DRAINING -> GONE      dismiss: it has said goodbye
//	LOST -> READY | DRAINING      register, drain: it has come back
//
// # Failures
//
// A failed attempt is charged to its class. A class's budget is how many attempts may fail in it; the last of them fails
// the run for good, and with it the trials that have not been answered:
//
//	WORKER_LOST    10    or 3 different workers at the same epoch: the run is quarantined, as it may be what brought them down
//	TRAINER         3
//	HUNG            3
//	OUT_OF_MEMORY   1
//	CONFLICT        1
//
// An attempt that is returned, or that ends because its study is paused or its worker says goodbye, costs nothing.
package results
