// Package spelling finds the name that was likely meant by one that does not exist: of a key, a model, an axis, a field
// or a command.
package spelling
