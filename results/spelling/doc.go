// Package spelling suggests the name that was probably meant by a misspelled one: of a key, a model, an axis, a field
// or a command.
package spelling
