// Package resources compares what runs need with what workers have: cores, memory and GPUs. It is pure.
package resources
