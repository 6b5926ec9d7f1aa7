// Package ranking keeps the keys of a study's ranked trials in order. A List never changes: adding keys returns another one,
// which shares with it what has not changed. A study of a million trials gets a few hundred keys at a time, which may belong
// anywhere; of what is kept, each then copies a page of about a hundred keys, and a block of a few dozen pages is copied
// for several of them.
package ranking
