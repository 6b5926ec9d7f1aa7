// Package supervisor runs a command so that nothing of it outlives its worker, and within limits. It knows nothing of
// ours.
//
// Between the worker and the command stands a process: this very binary, started again under the name Argument0. Main
// calls Main first thing if Supervising.
//
//	worker ── stdin: Command, "terminate", "kill" ──> supervisor ── starts ──> command ──> its processes
//	       <── events: started, ended ────────────── (subreaper)
//	       <── output ─────────────────────────────────────────────── standard output and error
//
// The supervisor is the "subreaper" of all that the command starts: what loses its parent becomes its child, also a
// daemon that has left the process group. So it can always find them all. It kills them all when the command has ended,
// when it is told to, and when its standard input ends: the kernel closes that when the worker dies, however it dies.
// If the supervisor itself is killed, the kernel kills the command (PR_SET_PDEATHSIG), and the worker kills what is in
// its control group.
//
// Limits are those of control groups, version 1 or 2, where the worker may make some; otherwise memory is watched, and
// the number of processes limited by RLIMIT_NPROC. Enforcement says which. On other systems than Linux there is only
// the process group: a daemon that leaves it can survive.
package supervisor
