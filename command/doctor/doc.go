// Package doctor has the command doctor, which checks a machine or a cluster and says what to mend: a file for each group of
// checks.
package doctor
