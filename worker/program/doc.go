// Package program runs one attempt of a user's program and speaks its protocol. It knows neither the coordinator nor
// the worker's session: like trainer.Train, Run takes a Config and calls a function for each epoch.
//
// The life of an attempt:
//
//	folder    an attempt folder is made:   work/     the program's files; it is started here
//	                                       resume/   the checkpoint that it resumes from
//	                                       run.json  parameters, seed, epochs (TRELLIS_RUN)
//	                                       reports   what it reports (TRELLIS_REPORTS)
//	start     trellis/worker/supervisor starts the command in a process group of its own, with its limits
//	run       lines of the reports file, or of its output, become Reports; a named checkpoint folder is packed; output
//	          is kept in Output
//	stop      when the context is done, the time is up, a report is wrong, or the receiver of reports returns an error:
//	          SIGTERM to the group, a grace period, SIGKILL to all that came of it
//	end       everything that the program started is killed, the last reports are read, the folder is removed
//
// # The protocol
//
// A report is one line of JSON, an object: {"epoch": 3, "val_acc": 0.91, "checkpoint": "folder"}. Epochs are
// consecutive from the first one asked for. NaN, Infinity and -Infinity are numbers, bare or in quotes; null is a
// metric that this epoch lacks. A second line for the epoch reported last may add its checkpoint, and nothing else.
//
// A checkpoint is a folder within work/. It is packed after its line was read, so the program must not change it any
// more: each checkpoint needs a folder of its own. It may remove one as soon as it has reported the next.
//
// A program that reports more epochs than it was asked for is stopped, and what it was asked for counts: commands that
// know nothing of max_epochs work.
package program
