// Package results is the store of studies, runs, trials, losses and workers: messages of trellisv1 in go-memdb, the state
// machines that say how they may change, and the queries that rank, page and filter them. What the answers mean, the package
// insight says.
//
// The store is what the replicated log feeds. A write is one command: it happens as a whole or not at all, depends on
// nothing but the store and its arguments (the command's log index and time among them), and has no effect but on the
// store. Replicas that apply the same log have the same Snapshot.Hash. Leader loops and API handlers read snapshots and
// wait on watch sets. Snapshot.WriteTo and Store.Restore move the whole store, Snapshot.Digest says what a study has answered:
// see DESIGN.md.
//
// What is stored is immutable. A write copies what it is given, changes copies of what it has, and inserts them; readers get
// what is stored and must not change it.
//
// Studies and workers are rows of tables. The runs of a study, up to a million, stand in rows of
// 64 each, called sections, together with their losses and the trials that they have answered; the study's catalog says
// where. Some tables follow from these: which runs are waiting, which are leased, how the answered trials rank.
//
// # State machines
//
// A study is RUNNING from its creation:
//
//	RUNNING <-> PAUSED            pause, resume
//	RUNNING -> COMPLETED          complete: every run has ended, and nothing is to be settled
//	COMPLETED -> RUNNING          reopen: it is extended or retried
//	RUNNING | PAUSED -> CANCELED  cancel
//
// A run is PENDING until it is granted to a worker, and again when an attempt has ended without an outcome that lasts:
//
//	PENDING -> LEASED             grant
//	LEASED -> PENDING             release: returned, paused, or failed within its budget
//	LEASED -> SUCCEEDED           succeed
//	LEASED -> FAILED              fail: the budget is used up
//	PENDING -> PRUNED             hold: it is not among the best where pruning looks at it
//	PRUNED -> PENDING             promote: it is among the best after all
//	PENDING -> SUCCEEDED          learn: a run of the same id in another study has come so far
//	SUCCEEDED -> PENDING          lengthen: an extension asks for more epochs than its maximum was
//	FAILED | PRUNED -> PENDING    retry
//	PENDING | LEASED -> CANCELED  cancel
//
// An attempt is one lease of a run. Its number comes from the log index of the grant and the grant's place in its command
// (AttemptNumber), and a report, checkpoint or outcome counts only while that attempt holds the run. What attempts have
// reported stays: the next one goes on from the run's last checkpoint and repeats the epochs after it with the same losses,
// bit for bit, before it adds to them.
//
// A trial is answered, SUCCEEDED, when its run reaches its max_epochs, or ends by itself before. Until then it is PENDING,
// RUNNING, FAILED, CANCELED or PRUNED as its run is.
//
// A worker registers as READY, or as DRAINING if it is about to leave:
//
//	READY -> DRAINING             drain
//	READY | DRAINING -> LOST      lose: its runs are charged with a failure
//	READY | DRAINING -> GONE      dismiss: it has said goodbye
//	LOST -> READY | DRAINING      register, drain: it has come back
//
// # Pruning
//
// A study that prunes judges its runs at rungs, which are epochs: see DESIGN.md. An attempt at a run ends at the next rung
// (Stage), and the run is PENDING and judged in the same command: it waits to go on, or is held. PRUNED runs have ended, as far as
// their study is concerned. They keep their losses and checkpoints, and go on from there if they are taken up again.
//
// # Failures
//
// A failed attempt is charged to its class. A class's budget is how many attempts may fail in it; the last of them fails
// the run for good, and with it the trials that have not been answered:
//
//	WORKER_LOST    10    since the run's last new epoch was recorded, or 3 different workers at the same epoch since then:
//	                     the run is quarantined, as it may be what brought them down
//	TRAINER         3
//	HUNG            3
//	OUT_OF_MEMORY   1
//	CONFLICT        1
//
// An attempt that is returned, or that ends because its study is paused or its worker says goodbye, costs nothing.
package results
