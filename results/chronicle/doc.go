// Package chronicle remembers when the commands of a log were proposed. What the log says of runs names commands by
// their indexes; people want to know the time. It is no part of the state: replicas may remember more or less, and
// nothing is stored.
package chronicle
