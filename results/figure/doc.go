// Package figure draws figures 2 to 9 of the paper: montages of images, a confusion matrix, scatter plots of latent
// codes and curves of losses; and small charts of curves on logarithmic axes, of what a coordinator costs. It knows
// numbers and images only: no studies, no messages.
//
// A Figure is drawn once and written as PNG (216 dots per inch) or SVG, as often as wanted. Both show the same.
//
//	figure, err := figure.Reconstructions(originals, reconstructions)
//	...
//	err = figure.WriteSVG(file)
//
// # Files
//
//   - They depend on nothing of the machine that shows them. Text is set in Liberation Sans, whose outlines come with
//     gonum.org/v1/plot; an SVG has the outlines of its letters instead of text, which takes less room than a font
//     (400 KB) and looks the same everywhere. What the picture shows is in the SVG's title and description, for readers
//     who can't see it.
//   - The same data gives the same bytes: there are no ids, times or random numbers in them, and no maps are walked. That
//     holds for one architecture and one release of Go; compilers may fuse the multiplications and additions inside
//     gonum.org/v1/plot elsewhere, and compress/flate may change.
//   - Images are enlarged by a whole factor, every pixel to a square: nothing is smoothed.
//   - The points of a scatter plot are a raster image in the SVG too. 20,000 circles as paths take 1.9 MB, the raster less
//     than a fifth of that whatever the number of points, and it is quick to show. Grouping the circles by colour would make them
//     shorter, but then one digit hides the others. Axes and legend are paths.
//
// # Colours
//
// The ten digits have the eight colours of M. Okabe and K. Ito, Color Universal Design (2008), in their order, and
// after them wine and indigo of P. Tol's muted scheme (Colour Schemes, SRON/EPS/TN/09-002, 2021). TestPalette measures
// how far apart they are for people with normal sight and with each of the three colour deficiencies. The confusion
// matrix has the Blues of C. Brewer, colorbrewer2.org.
package figure
