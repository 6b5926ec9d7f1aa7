// Package pruning has the rules by which a study ends runs that promise little. It is pure: a rule sees losses and how
// runs stand, and the store does what it decides.
//
// A rule judges runs at rungs, which are epochs. What a run has shown by a rung is its result there. A run that is held
// at a rung is PRUNED, and may be promoted later.
//
// A rule is one file: its settings, which are a message of trellisv1.Pruning, its name, its defaults, what makes it
// invalid, its rungs and what it decides. methodOf in pruning.go knows all rules, and nothing else names one.
package pruning
