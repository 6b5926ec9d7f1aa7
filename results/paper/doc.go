// Package paper has what a report on the reproduction of a paper may have, and draws it: one HTML page with the figures. For
// every number of the paper, it has our number, the difference, and the command that computes it. The package only knows texts
// and pictures: what they say is written by who reproduces the paper.
//
// The page is one file that needs nothing else: it contains its style and pictures, it has no scripts, and its security
// policy lets a browser load nothing from elsewhere. It is light or dark like the reader's system, fits phones, and
// prints. The web page of a coordinator shows the same report while the paper is being reproduced.
//
// All texts are escaped. Pictures are shown as images, in which a browser runs no scripts. The same report gives the
// same bytes.
package paper
