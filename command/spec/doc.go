// Package spec reads the file of a study or of a reproduction, and says what is wrong with it: where, and what would be
// right.
package spec
