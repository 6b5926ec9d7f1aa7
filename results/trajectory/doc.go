// Package trajectory has what is known of one run, and how it grows: what reports add to it, which trials they answer,
// what it learns from a run of the same id in another study, which checkpoints it keeps, and when its failures are too
// many. It is pure: it knows neither the store nor other runs.
//
// What is stored is never changed. Run, losses and answers that belong to a store are read; a change works on a Clone.
package trajectory
