// Package spans traces attempts as their worker sees them.
//
// The span "attempt" lasts from the assignment until the outcome is sent, or the attempt is stopped. The assignment
// names the run whose trace it belongs to. Within it are a span "train" each time that training begins or goes on, with
// some of its epochs as events, and a span "upload checkpoint" for each of its first checkpoints. Calls within these
// have spans of their own. Their number is bounded: a run may have a million epochs and ten thousand checkpoints.
package spans
