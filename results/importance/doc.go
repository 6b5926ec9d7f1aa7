// Package importance says how much of a number's variation over a grid each axis of the grid explains, and each pair of
// axes: a functional analysis of variance. It is pure: numbers in, numbers out, the same ones for the same arguments.
//
// # Full grids
//
// Where every combination of the axes' levels is there once, the analysis is exact. It is the decomposition of
// Hoeffding and Sobol (Sobol 1993, Sensitivity Estimates for Nonlinear Mathematical Models), with every level of an
// axis weighing the same, as Hutter, Hoos and Leyton-Brown apply it to hyperparameters (2014, An Efficient Approach for
// Assessing Hyperparameter Importance). They have to decompose a model that was fitted to a few random points; here,
// the grid itself is the function:
//
//	f(x) = mean + sum over axes i of f_i(x_i) + sum over pairs of f_ij(x_i, x_j) + ...
//	f_i(a) = mean of f where x_i = a, less the mean
//	f_ij(a, b) = mean of f where x_i = a and x_j = b, less f_i(a), f_j(b) and the mean
//
// The terms are orthogonal, so that their variances add up to that of f; each one's share is its importance. The total
// share of an axis is that of all terms that it has a part in: the mean variance of f along the axis, all others being
// held.
//
// # Other sets of points
//
// A union of grids, or a grid with holes, has no such decomposition: its axes are correlated. The largest full grid
// within it would leave most points out, and a model that is continued over the holes says there what nobody has seen.
// Instead, the terms are fitted to the points that are there by least squares, in two steps: first the axes, then the
// pairs to what the axes leave. What a step explains is how much smaller the residual sum of squares becomes by it,
// which can't be negative; within a step it is divided in proportion to the variances of the terms over the points. So
// an interaction gets only what the axes by themselves can't explain, and the shares add up to 1 whatever is missing.
// On a full grid, this is the exact decomposition.
//
// Where axes go together, so that the points can't say which of them it is, the fit of the smallest terms divides
// alike. A fit that would take too many iterations is left unfinished: what it has not explained is in the rest.
//
// An axis's total share is then the mean variance along its lines, points that differ in this axis alone, over those
// lines that have several points. It is kept between what the axis's own terms explain, and that together with all the
// rest.
package importance
