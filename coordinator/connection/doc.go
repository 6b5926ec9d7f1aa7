// Package connection bounds the connections of a coordinator's listener: their number in all, of one host and of one
// principal, and the responses that their clients have not read. A connection above a limit is refused in words, or
// closed.
package connection
