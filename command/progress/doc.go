// Package progress shows a study that is under way: in place on a terminal, in lines elsewhere.
package progress
