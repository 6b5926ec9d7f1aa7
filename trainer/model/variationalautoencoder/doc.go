// Package variationalautoencoder is the paper's variational autoencoder (section 5), whose encoder gives a normal
// distribution for each image instead of a code.
package variationalautoencoder
