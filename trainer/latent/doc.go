// Package latent analyses latent spaces: it projects codes to two or three dimensions, and measures how much of their
// structure a projection keeps and how well the codes tell labels apart (paper, section 6).
//
//	PCA                       principal components, by gonum
//	TSNE                      t-distributed stochastic neighbour embedding, by the Barnes-Hut approximation
//	Trustworthiness           are neighbours in the projection neighbours in the latent space?
//	NearestNeighbourAccuracy  do neighbours share a label?
//	Silhouette                are labels compact and apart?
//
// t-SNE goes these steps, each in a file of its own:
//
//	neighbours.go  the 3 perplexity nearest neighbours of each point, exactly, by a vantage-point tree
//	affinity.go    a Gaussian around each point, as wide as the perplexity asks for; their probabilities, symmetric
//	start.go       where the embedding begins: the points' own principal components, or random points
//	tree.go        in each iteration, the quadtree or octree of the embedding, from points sorted in Morton order
//	forces.go      attraction along the affinities, repulsion from the tree's cells
//	descent.go     gradient descent with momentum and gains
//
// Sources:
//
//	van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008: the method, momentum, early exaggeration
//	van der Maaten, "Accelerating t-SNE using Tree-Based Algorithms", 2014: sparse affinities, the Barnes-Hut forces
//	Barnes and Hut, "A hierarchical O(N log N) force-calculation algorithm", 1986
//	Yianilos, "Data structures and algorithms for nearest neighbor search in general metric spaces", 1993
//	Belkina et al., "Automated optimized parameters for t-distributed stochastic neighbor embedding ...", 2019: the
//	learning rate
//	Kobak and Berens, "The art of using t-SNE for single-cell transcriptomics", 2019: beginning with PCA
//
// It departs from these in when a cell stands for its points. The diagonal of the smallest box around them counts, not
// the side of the cell, and points go through the tree two by two: with the same theta, it errs less. In the tests the
// gradient is within 3% of the exact one where theta is 0.5, and equal to it to rounding with ExactTheta.
//
// make bench-peers measures it beside scikit-learn's, with codes of an autoencoder that it trains for ten epochs. On
// two cores of an AMD EPYC, with codes of the paper's best one, fully trained (10,000 test images of MNIST, 32
// dimensions), all 1,000 iterations, and both embeddings judged by this package:
//
//	                   wall s   CPU s   memory   divergence   trustworthiness (5, 12)   5-NN accuracy
//	this package         13.2    18.0   47 MB        1.707            0.9953, 0.9909          0.9633
//	scikit-learn 1.9.1   67.7    95.3  194 MB        1.694            0.9958, 0.9911          0.9647
//
// Other work on the machine moves the times: from one such session to another ours took 13 to 18 s of CPU, the other 95
// to 107.
//
// openTSNE 1.0.4 interpolates repulsion on a grid by fast Fourier transforms (Linderman et al., "Fast
// interpolation-based t-SNE for improved visualization of single-cell RNA-seq data", 2019), which costs more
// than this package's tree. Of 60,000 codes of an autoencoder that was trained for ten epochs, on two cores with
// so much other work that only CPU time says something, and with trustworthiness from 3,000 of the points:
//
//	                 iterations   CPU s   memory   divergence   trustworthiness (5)   5-NN accuracy
//	this package           1000     178  261 MiB        2.636                0.9994          0.9075
//	openTSNE 1.0.4         1000     334  536 MiB        2.605                0.9991          0.9078
//
// That embedding is 205 wide. With three nodes a unit, and as many again so that it does not wrap around, the
// grid has 1,230 x 1,230. By gonum's transforms, those of 1,024 rows of 1,024 took 65 ms, and an iteration takes
// six times as much or more; the tree's whole repulsion took 140 ms.
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
