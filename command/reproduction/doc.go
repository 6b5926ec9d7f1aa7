// Package reproduction makes a paper of studies: it says which studies a reproduction consists of and how they depend
// on one another, and turns what they have trained into the paper's figures, its numbers beside ours, and a report.
//
// It talks to nobody. Whoever runs a reproduction (trellis reproduce) trains its stages like any other studies, and
// hands over what they gave as Material.
package reproduction
