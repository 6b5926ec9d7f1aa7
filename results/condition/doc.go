// Package condition compiles conditions that people write in CEL, the Common Expression Language: filters of trials,
// and the where of a spec. It bounds what a condition may cost, and says in plain words what is wrong with one.
package condition
