// Package describe says in words and in columns what a study is, how far it has come, what it is about to take, and
// with which parameters. Commands and progress say it alike therefore.
package describe
