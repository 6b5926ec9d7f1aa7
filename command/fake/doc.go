// Package fake is for tests: a coordinator that answers as it is told, and messages that are hard to write.
package fake
