// Package account says what runs count for in a report: where the results of their trials come from, what sharing has saved, and
// what has failed. It is pure. Sums of runs can be added.
package account
