// Package columns has what the trials of a part of a study are ordered by, field by field, in a fraction of the memory of
// the trials themselves. Pages of a million trials are found in it without reading runs.
package columns
