// Package lifecycle defines the state machines of studies, runs and workers: their transitions, and the names of these.
//
// A study is RUNNING from its creation:
//
//	RUNNING <-> PAUSED            pause, resume
//	RUNNING -> COMPLETED          complete: every run has ended, and nothing is left to audit or settle
//	COMPLETED -> RUNNING          reopen: it is extended or retried, or a run is taken back
//	RUNNING | PAUSED -> CANCELED  cancel
//
// A study that is RUNNING or PAUSED may also be extended or retried: reopen then leaves its state unchanged.
//
// A run is PENDING until it is granted to a worker. It is PENDING again when an attempt ends and the run does not:
//
//	PENDING -> LEASED             grant
//	LEASED -> PENDING             release: returned, paused, at the end of a stage, or failed within its budget
//	LEASED -> SUCCEEDED           succeed
//	LEASED -> FAILED              fail: the budget is used up
//	PENDING -> PRUNED             hold: it is not among the best where pruning judges it
//	PRUNED -> PENDING             promote: it is among the best after all
//	PENDING -> FAILED             refuse: another run of the study did not report the objective's metric, and none has
//	PENDING -> SUCCEEDED          learn: a run with the same id in another study has all its epochs
//	SUCCEEDED -> PENDING          lengthen: an extension asks for more epochs
//	FAILED | PRUNED -> PENDING    retry
//	PENDING | LEASED -> CANCELED  cancel
//	CANCELED -> PENDING           reopen: the time of the study's budget was over, and the study gets more
//	SUCCEEDED -> SUCCEEDED        audit: a worker trains it again, to compare;   release: that has ended
//	SUCCEEDED | LEASED -> LEASED  overturn: the attempt goes on, and replaces losses that were wrong
//	SUCCEEDED | PRUNED -> PENDING take back: it has copied losses that were wrong from another study, or is retried
//	                              because its attempts disagree
//
// A trial has no state machine of its own. It is SUCCEEDED when its run has reached its max_epochs, or has ended by
// itself before. Otherwise it is PENDING, RUNNING, FAILED, CANCELED or PRUNED, according to its run's state.
//
// A worker registers as READY, or as DRAINING if it is about to leave:
//
//	READY -> DRAINING             drain
//	READY | DRAINING -> LOST      lose: its runs are charged a failure
//	READY | DRAINING -> GONE      dismiss: it has said goodbye
//	LOST -> READY | DRAINING      register, drain: it has come back
package lifecycle
