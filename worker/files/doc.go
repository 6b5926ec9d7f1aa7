// Package files keeps the packed files of programs on a worker's disk, for its next attempts and for other workers of the same
// folder.
package files
