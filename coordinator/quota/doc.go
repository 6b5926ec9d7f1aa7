// Package quota counts what peers make the coordinator hold, in all and for each of them, and refuses what exceeds a
// limit. Every refusal names the limit and its value, so that an operator knows which one to raise.
// Costly requests take turns (Turns): beyond the limit, they wait.
package quota
