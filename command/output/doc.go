// Package output writes results: lists and messages as a table, JSON, YAML or CSV, numbers, times and words in them,
// and files that are there whole or not at all.
package output
