// Package selection finds the trials that meet a filter without looking at each of them. It takes the filter apart into
// conditions of parameters, which are computed once for each combination of values, and of outcomes, which are compared with
// the columns of a section at once. Where the parameters of trials follow from their indexes, no trial is read. It is pure: it
// knows no store.
package selection
