// Package paper writes the report of a reproduction of the paper: one HTML page with the figures, and beside every
// number of the paper ours, their difference, and the command that computes it. It knows texts and pictures only: no
// studies, no messages.
//
// The page is one file that needs nothing else: its style and pictures are in it, it has no scripts, and its security
// policy lets a browser load nothing from elsewhere. It is light or dark as the reader's system is, fits telephones,
// and prints.
//
// Texts are escaped, wherever they come from. Pictures are shown as images, in which a browser runs no scripts. The
// same report gives the same bytes.
package paper
