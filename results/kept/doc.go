// Package kept keeps what was computed from a value that never changes beside that value. So a query over many values computes
// again only what has been replaced since the last one. There is nothing to store, to restore or to keep up to date.
//
// Answers about the current versions of studies may be large. They are kept within so many bytes.
package kept
