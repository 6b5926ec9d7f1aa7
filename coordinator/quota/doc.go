// Package quota counts what peers make the coordinator hold, in all and for each of them, and refuses what exceeds a
// limit. Every refusal names the limit and its value, so that an operator knows which one to raise.
package quota
