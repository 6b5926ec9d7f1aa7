// Package auditing decides what stands where attempts at a run have reported different losses, and which runs are trained
// again to find out. It is pure: it reads trajectories and returns claims and decisions, which the store applies.
//
// A claim is what one attempt has reported for the first epoch at which attempts differ. See trellisv1.Disagreement for
// when one stands.
package auditing
