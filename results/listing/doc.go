// Package listing orders and filters trials, and divides them into pages. It is pure: functions of trials and requests
// that know no store.
package listing
