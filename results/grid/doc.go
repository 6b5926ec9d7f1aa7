// Package grid turns a study's spec into its trials and runs. It is pure: no clock, no randomness, no I/O, and the same
// bits on every platform, so that every replica of the coordinator expands a study alike.
//
// A grid is never materialized. Its points are numbered, and a point is computed from its index by mixed radix: the
// digits are the positions on the axes, in the order of CommonAxes, with those that only the model has, by name, before
// max_epochs. The last, seed, varies fastest. A list of grids is their union: the indices
// of each follow those of the grid before. A point that an earlier grid has too counts there alone, and leaves a gap.
//
// Which models there are, and which axes of their own they have, is an argument: see Models. They are asked at the edge
// alone, where a spec is admitted and what it leaves out is filled in. What is expanded from the log has its axes in
// its spec, so that replicas with different models expand it alike.
//
// Trials that differ in max_epochs alone share one run: see Expand.
package grid
