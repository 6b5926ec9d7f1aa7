// Package importance computes how much of a value's variance over a grid each axis of the grid explains, and each pair
// of axes: a functional analysis of variance (functional ANOVA). It is pure: the same arguments give the same results.
//
// # Full grids
//
// If every combination of the axes' levels occurs exactly once, the analysis is exact. It is the decomposition of
// Hoeffding and Sobol (Sobol 1993, Sensitivity Estimates for Nonlinear Mathematical Models), with equal weight for
// every level of an axis, as Hutter, Hoos and Leyton-Brown apply it to hyperparameters (2014, An Efficient Approach for
// Assessing Hyperparameter Importance). They decompose a model that was fitted to a few random points. Here, the grid
// itself is the function:
//
//	f(x) = mean + sum over axes i of f_i(x_i) + sum over pairs of f_ij(x_i, x_j) + ...
//	f_i(a) = mean of f where x_i = a, less the mean
//	f_ij(a, b) = mean of f where x_i = a and x_j = b, less f_i(a), f_j(b) and the mean
//
// The terms are orthogonal, so their variances add up to the variance of f. Each term's share is its importance. The
// total share of an axis is the share of all terms that involve it: the mean variance of f along the axis, with all
// other axes held fixed.
//
// # Other sets of points
//
// A union of grids, or a grid with holes, has no such decomposition, because its axes are correlated. The largest full
// grid within it would leave out most points, and a model that fills the holes would invent values there. Instead, the
// terms are fitted to the existing points by least squares, in two steps: first the axes, then the pairs, to the
// residual of the axes. A step explains the amount by which it reduces the residual sum of squares, which can't be
// negative. Within a step, this amount is divided in proportion to the variances of the terms over the points. So an
// interaction gets only what the axes alone can't explain, and the shares add up to 1 no matter which points are
// missing. On a full grid, this is the exact decomposition.
//
// If axes vary together, so that the points can't tell them apart, the fit with the smallest terms divides the share
// equally among them. A fit that would take too many iterations is stopped. What it has not explained is part of the
// rest.
//
// An axis's total share is then the mean variance along its lines. A line is a set of points that differ only in this
// axis, and only lines with several points count. The total share is limited: it is at least what the axis's own terms
// explain, and at most that plus the rest.
package importance
