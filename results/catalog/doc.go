// Package catalog says which runs and trials a study has, and in which order its runs are leased. It is pure: it knows
// neither the store nor what has become of the runs.
package catalog
