// Package results is the store of studies, runs, trials, losses and workers: messages of trellisv1 in go-memdb, the
// state machines that say how they may change, and the queries that rank, page and filter them. What the answers mean,
// the package insight says.
//
// The store is what the replicated log feeds. A write is one command: it happens as a whole or not at all, depends on
// nothing but the store and its arguments (the command's log index and time among them), and has no effect but on the
// store. Replicas that apply the same log have the same Snapshot.Hash. Leader loops and API handlers read snapshots and
// wait on watch sets. Snapshot.WriteTo and Store.Restore move the whole store, Snapshot.Digest says what a study has
// answered: see DESIGN.md.
//
// What is stored is immutable. A write copies what it is given, changes copies of what it has, and inserts them;
// readers get what is stored and must not change it.
//
// Studies and workers are rows of tables. The runs of a study, up to a million, stand in rows of
// 64 each, called sections, together with their losses and the trials that they have answered; the study's catalog says
// where. Some tables follow from these: which runs are waiting, which are leased, how the answered trials rank.
//
// # Attempts
//
// How studies, runs and workers may change, package lifecycle says.
//
// An attempt is one lease of a run. Its number comes from the log index of the grant and the grant's place in its
// command (AttemptNumber), and a report, checkpoint or outcome counts only while that attempt holds the run. What
// attempts have reported stays: the next one goes on from the run's last checkpoint and repeats the epochs after it
// with the same losses, bit for bit, before it adds to them.
//
// # Pruning
//
// A study that prunes judges its runs at rungs, which are epochs: see DESIGN.md. An attempt at a run ends at the next
// rung (Stage), and the run is PENDING and judged in the same command: it waits to go on, or is held. PRUNED runs have
// ended, as far as their study is concerned. They keep their losses and checkpoints, and go on from there if they are
// taken up again.
//
// # Failures
//
// A failed attempt is charged to its class. A class's budget is how many attempts may fail in it; the last of them
// fails the run for good, and with it the trials that have not been answered:
//
//	WORKER_LOST    10    since the run's last new epoch was recorded, or workers of 3 different machines at the same epoch
//	                     since then: the run is quarantined, as it may be what brought them down
//	TRAINER         3    on 3 different machines, or when every READY worker's machine has failed it
//	HUNG            3    likewise
//	OUT_OF_MEMORY   1
//	CONFLICT        1
//	INPUT           1    no worker can train it
//	WORKER          -    it says nothing about the run, and costs nothing
//
// Budgets count machines where a machine may be to blame: a worker on which every attempt fails is always free, and would
// use up the budgets of all runs by itself. A worker's machine is the host that it names; where it names none, its own
// name stands for it.
//
// An attempt that is returned, or that ends because its study is paused or its worker says goodbye, costs nothing.
package results
