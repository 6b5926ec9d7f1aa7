// Package denoisingautoencoder is the paper's denoising autoencoder (section 3): the convolutional autoencoder, which
// is shown images with noise and is to give those without it.
package denoisingautoencoder
