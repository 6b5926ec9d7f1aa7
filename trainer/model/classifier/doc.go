// Package classifier is the paper's classifier (section 4): two layers on top of an encoder that an autoencoder has
// been trained with.
package classifier
