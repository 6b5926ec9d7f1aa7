// Package results is the store of studies, runs, trials, losses and workers. It has their messages (package trellisv1)
// in go-memdb, and queries that rank, page and filter them. Package insight interprets the results.
//
// The replicated log's commands write to the store. A write is one command. It happens completely or not at all,
// depends only on the store and its arguments (including the command's log index and time), and changes only the store.
// Replicas that apply the same log have the same Snapshot.Hash. Leader loops and API handlers read snapshots and wait
// on watch sets. Snapshot.WriteTo and Store.Restore write and read the whole store, and Snapshot.Digest is a hash of a
// study's results: see DESIGN.md.
//
// Stored values are immutable. A write copies its arguments, changes copies of stored values, and inserts the copies.
// Readers get the stored values and must not change them.
//
// Studies and workers are rows of tables. The runs of a study, up to a million, are stored in rows of 64 runs each,
// called sections, together with their losses and the trials that have results. Runs that follow from the study's spec
// are stored once something has happened to them. The study's catalog says where each run is. Some tables are derived
// from these: waiting runs, leased runs, and the ranking of trials with results.
//
// What needs no store is in packages of its own:
//
//	columns       what trials are ordered by, field by field
//	catalog       which runs and trials a study has, and where they are
//	lattice       which of them follow from the study's spec, by arithmetic
//	trajectory    what is known of one run, and how it grows
//	lifecycle     the states of studies, runs and workers
//	grid          axes, points, the rules and defaults of a spec
//	pruning       which runs are held
//	auditing      what stands where attempts disagree
//	listing       order, filter and pages of a list
//	selection     which trials meet a filter, by columns and by arithmetic
//	consistency   whether restored rows contradict one another
//	snapshotfile  the file of a snapshot
//
// # Attempts
//
// Package lifecycle defines how studies, runs and workers may change state.
//
// An attempt is one lease of a run. Its number comes from the log index of the grant and the grant's position in its
// command (AttemptNumber). A report, checkpoint or outcome counts only while its attempt holds the run. What attempts
// have reported is kept. The next attempt resumes from the run's last checkpoint and repeats the epochs after it with
// the same losses, bit for bit, before it adds new ones.
//
// # Pruning
//
// A study that prunes judges its runs at rungs, which are epochs: see DESIGN.md. An attempt ends at the next rung
// (Stage). The run becomes PENDING and is judged in the same command: it either waits to continue, or is held. A held
// run is PRUNED, and counts as ended. It keeps its losses and checkpoints, and continues from there if it is resumed.
//
// # Failures
//
// A failed attempt is charged to its class. A class's budget is how many attempts may fail in it. The last of them
// fails the run for good, and with it the trials that have no result:
//
//	WORKER_LOST    10    since the run's last new epoch was recorded, or workers of 3 different machines at the same epoch
//	                     since then: the run is quarantined, as it may be what brought them down
//	TRAINER         3    on 3 different machines, or when every READY worker's machine has been tried; at most 6
//	HUNG            3    likewise
//	OUT_OF_MEMORY   1
//	CONFLICT       10    see below
//	INPUT           1    no worker can train it
//	RETURNED        5    only since the last new epoch: the program hands its run back by itself
//	WORKER          -    it says nothing about the run, and costs nothing
//
// Budgets count machines where a machine may be to blame: a worker on which every attempt fails is always free, and would
// use up the budgets of all runs by itself. A worker's machine is the host that it names; where it names none, its own
// name stands for it. A machine has been tried if an attempt there ended as TRAINER, HUNG,
// RETURNED or WORKER.
//
// These are the latest rules. Each command names its own (trajectory.Rules): those of Trellis 0.1.0 count attempts and
// the names of workers, and have neither INPUT nor WORKER. By rules before TrainAgain, the first conflict fails a run,
// and by those before CountAudits an audit has no budget of conflicts. Those before CountReturns have no RETURNED,
// those before MatchLabels no labels of workers, and those before FitMemory don't know what networks take.
//
// # Disagreements and audits
//
// A run knows which attempts have reported which of its epochs (Run.trainings). An attempt that contradicts what is
// recorded ends (CONFLICT), and the run is disputed: the next attempt trains it from the start, on a machine that has not
// done so yet, and is compared with what is recorded. When its claim about the disputed epoch is confirmed, or refuted,
// that is decided (package auditing): either what is recorded stands, or it is replaced from there on by what the attempt
// reports, also in other studies that have copied it. All weights of a disputed run are dropped.
//
// A run that has succeeded may be audited: it stays SUCCEEDED, and a worker trains it again, from the start. What that
// reports is compared, and not recorded. A difference is decided in the same way. The runs of a sample are audited
// (StudySpec.audit), and so are all runs of a study that were trained by a worker whose claim was refuted there.
//
// Where attempts at a program's run differ, the program may not be what its spec declares: see package auditing for how that
// is told from a wrong worker. Then Study.refuted says so, no worker is wrong, what is recorded stays, and the study shares
// no runs. If the program is not deterministic, nothing of the study is disputed or audited any more. A program that
// declares "prefix" is trained once more with the smallest max_epochs of a run's trials, after the run's audit has given
// the same results. The weights of a program's disputed run are kept until a worker turns out to be wrong.
//
// An attempt that is returned, or that ends because its study is paused or its worker says goodbye, is not charged.
package results
