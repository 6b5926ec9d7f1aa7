// Package objective computes what the trials of a study are ranked by: one number for each trial, from the values of
// one metric in its epochs.
//
// An objective is a message, complete with its defaults, or nil for the usual one: the lowest validation loss. Results
// have the metric's own sign. Whoever compares them does so by Loss, of which lower is always better.
package objective
