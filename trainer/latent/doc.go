// Package latent analyses latent spaces: it projects codes to two or three dimensions, and measures how much of their
// structure a projection keeps and how well the codes tell labels apart (paper, section 6).
//
//	PCA                       principal components, by gonum
//	TSNE                      t-distributed stochastic neighbour embedding, by the Barnes-Hut approximation
//	Trustworthiness           are neighbours in the projection neighbours in the latent space?
//	NearestNeighbourAccuracy  do neighbours share a label?
//	Silhouette                are labels compact and apart?
//
// Everything is deterministic: the same input gives the same bits whatever GOMAXPROCS is, because each point's sums
// and the sums over points have one order. All of it but PCA also gives the same bits on every platform: products are
// rounded before they are added, and the exponential and the logarithm are the package's own, because those of package
// math are assembly on amd64, arm64 and s390x, with fused multiply-adds on processors that have them. PCA is gonum's,
// whose kernels differ between amd64 and the rest, so its last digits may; t-SNE finds the axes it starts from by
// itself for that reason.
//
// Several analyses may run at once. Each uses up to GOMAXPROCS goroutines, which end before it returns.
package latent
