// Package lifecycle has the state machines of studies, runs and workers: which moves there are, and what they are
// called.
//
// A study is RUNNING from its creation:
//
//	RUNNING <-> PAUSED            pause, resume
//	RUNNING -> COMPLETED          complete: every run has ended, and nothing is to be settled
//	COMPLETED -> RUNNING          reopen: it is extended or retried
//	RUNNING | PAUSED -> CANCELED  cancel
//
// A study that is RUNNING or PAUSED may be extended or retried too: reopen leaves it as it is.
//
// A run is PENDING until it is granted to a worker, and again when an attempt has ended without an outcome that lasts:
//
//	PENDING -> LEASED             grant
//	LEASED -> PENDING             release: returned, paused, at the end of a stage, or failed within its budget
//	LEASED -> SUCCEEDED           succeed
//	LEASED -> FAILED              fail: the budget is used up
//	PENDING -> PRUNED             hold: it is not among the best where pruning looks at it
//	PRUNED -> PENDING             promote: it is among the best after all
//	PENDING -> SUCCEEDED          learn: a run of the same id in another study has come so far
//	SUCCEEDED -> PENDING          lengthen: an extension asks for more epochs than its maximum was
//	FAILED | PRUNED -> PENDING    retry
//	PENDING | LEASED -> CANCELED  cancel
//
// A trial has no machine of its own. It is answered, SUCCEEDED, when its run reaches its max_epochs, or ends by itself
// before. Until then it is PENDING, RUNNING, FAILED, CANCELED or PRUNED as its run is.
//
// A worker registers as READY, or as DRAINING if it is about to leave:
//
//	READY -> DRAINING             drain
//	READY | DRAINING -> LOST      lose: its runs are charged with a failure
//	READY | DRAINING -> GONE      dismiss: it has said goodbye
//	LOST -> READY | DRAINING      register, drain: it has come back
package lifecycle
