// Package lattice says which runs and trials follow from the spec that a study was created with, without listing them.
// It is pure: what has become of the runs it doesn't know.
//
// A point of the grid is a number in mixed radix, whose digits are positions on the axes: its index. A run is the
// digits without max_epochs. Its place, its position in the order of training, follows from them in one of two ways:
//
//   - By arithmetic, if no two grids of the union have runs in common, the study's where does not depend on
//     max_epochs, and the order is not that of ids. A where is counted: how many of the combinations that it depends
//     on are met, below each. So 10^12 points take as much time and memory as their axes.
//   - From a list otherwise, of 4 bytes for each run, 4 for each combination of values and a bit for each point, of at
//     most grid.MaxTrials points.
//
// A random order is a permutation of the places of the order in which the grid is written, which is computed for each
// place. A budget cuts the order off.
//
// An extension makes a lattice larger: runs keep their places, trials their indexes, and what is new comes after them. Which
// runs of the larger grid are new follows by arithmetic where both grids do, no budget has left out a part, and the new runs
// come in the order of their lengths. Otherwise the positions of the runs that the study had are listed, in 8 bytes for each.
package lattice
