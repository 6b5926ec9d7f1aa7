// Package chart computes what charts of a study show: curves, points, heat maps, histories, distributions, coverage and
// time lines. An answer is as large as a screen can show, whatever the study's size. It reads snapshots of the store.
// The store does not know this package.
//
// What costs little is exact at any size: the ranking has the objectives and the indexes of all trials with results,
// and the parameters follow from an index by arithmetic. What has to read trials or runs reads a bounded number of
// them, evenly over the ranks or over the grid, and says so: see trellisv1.Basis.
package chart
