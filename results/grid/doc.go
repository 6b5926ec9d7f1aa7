// Package grid turns a study's spec into its trials and runs. It is pure: it uses no clock, no randomness and no I/O,
// and gives the same bits on every platform, so every replica of the coordinator expands a study in the same way.
//
// A grid is never materialized. Its points are numbered, and a point is computed from its index by mixed radix: the
// digits are the positions on the axes, in the order of CommonAxes, with those that only the model has, by name, before
// max_epochs. The last, seed, varies fastest. A list of grids is their union: the indices of each follow those of the
// grid before. A point that an earlier grid also has counts only there, and leaves a gap.
//
// The models, and the axes that only they have, are an argument: see Models. They are only used when a spec is admitted
// and its defaults are filled in. A spec in the log has all its axes, so replicas with different models expand it in
// the same way.
//
// Trials that differ only in max_epochs share one run: see Expand.
package grid
