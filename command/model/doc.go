// Package model fetches the network of a trial from a coordinator, and writes it in formats that other tools read.
package model
