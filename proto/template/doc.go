// Package template has the names by which a program gets its parameters: the variables of its environment, and {name}
// in the arguments of its command. What is submitted is checked with it, and the worker starts programs with it, so
// that both agree. It is pure, and belongs to the protocol as the messages do.
package template
