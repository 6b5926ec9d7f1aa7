// Package spans traces runs as the leader sees them.
//
// The trace of a run begins with the span "run", from the creation of its study to the end of the run. Within that are
// a span "grant" for each lease, from the choice of the worker until the log has it, and a span "record" for each
// outcome, from its arrival until the log has it. The span "attempt" between them is the worker's: an assignment names
// the trace. All of it follows from the study and the run as they are in the log, see package tracing, so each leader
// goes on with the traces of the one before.
//
// A study of a million trials is not one trace: its creation is a trace of its own, with the span "create study", and
// its runs' traces have links to that. It in turn has a link to the call that created the study, and so to whoever made
// the call.
//
// Nothing here is called where commands are applied.
package spans
