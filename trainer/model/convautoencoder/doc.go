// Package convautoencoder is the paper's convolutional autoencoder (section 2).
package convautoencoder
