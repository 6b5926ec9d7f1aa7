// Package ranking keeps the keys of a study's ranked trials in order. A List never changes: adding keys returns another one,
// which shares with it what has not changed. A study of a million trials gets a few hundred keys at a time, which may belong
// anywhere. If each went to its page at once, it would copy that page of about a hundred keys, which is in no cache. So keys
// stay late, beside the pages, until there are a few for each page. Those who read find them among the others.
package ranking
