// Package configuration sets flags that a command line leaves out: from variables of the environment, and from a file.
//
// Every flag is a setting, under its own name, but for those that say what one invocation is about. So a new flag needs
// nothing here, and the help topic names it. Settings never differ from flags in what they mean: they are given to the flag
// as its text.
package configuration
