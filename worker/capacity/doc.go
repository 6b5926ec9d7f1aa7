// Package capacity finds out what a machine has for runs: cores, memory and GPUs.
package capacity
