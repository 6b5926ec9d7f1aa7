// Package model says what a model is. Each has a folder of its own below, and is listed in the trainer's models.go:
//
//	convautoencoder         the paper's section 2
//	denoisingautoencoder    section 3
//	classifier              section 4
//	variationalautoencoder  section 5
//	synthetic               a formula in place of a network, to try out a cluster
//
// A new one is a folder with a Definition, either a Network or a Formula, and a line in that list.
package model
