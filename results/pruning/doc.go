// Package pruning has the rules by which a study ends unpromising runs. It is pure: a rule sees losses and rankings of
// runs, and the store does what the rule decides.
//
// A rule judges runs at rungs, which are epochs. A run's result at a rung is computed from its losses up to there. A
// run that is held at a rung is PRUNED, and may be promoted later.
//
// Each rule is one file. It has the rule's settings (a message of trellisv1.Pruning), name, defaults, validation, rungs
// and decisions. methodOf in pruning.go lists all rules, and nothing else names one.
package pruning
