// Package packed writes rows of numbers that resemble each other in few bits, and reads exactly the same numbers again.
package packed
