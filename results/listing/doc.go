// Package listing says how trials are ordered, filtered and put on pages. It is pure: functions of trials and of what a
// request asks for, which know no store.
package listing
