// Package retention says which checkpoints of studies that have ended may be deleted, and how much room that frees.
package retention
