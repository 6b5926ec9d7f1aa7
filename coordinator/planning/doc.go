// Package planning says what a study would cost, or what an extension of one would add, without creating anything. Runs are
// counted where they are in the grid: only those that somebody has trained are looked at one by one.
package planning
