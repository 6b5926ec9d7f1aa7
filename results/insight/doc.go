// Package insight says what a study's answers mean: which configuration is best and how sure that is (BestTrial), how
// the configurations rank (ListConfigurations), how every point of the grid was answered (Report), which axes matter
// (Importance), what to search next (SuggestStudy) and which trials a study with settle needs next (NextSeed). It reads
// snapshots of the store, which knows nothing of it.
//
// # Configurations
//
// A configuration is a point of the grid without its seed: what a study with several seeds repeats with each of them,
// and what it is ranked by. Its rank is that of the mean of its objectives. The best is chosen among the configurations
// that have the most of the seeds that at least half of them have been answered with, so that one lucky seed does not
// win against five ordinary ones; the others rank after these. An objective that is not a finite number puts a
// configuration last. With one seed, configurations rank as their trials do.
//
// Package statistics says which configurations are statistically tied with the best. Ranking and verdict go by
// validation losses alone; the mean test loss of a configuration stands beside them.
//
// What a study with settle needs next follows from what its trials have given. Nothing of it is stored but that it has
// come to its end, Study.settled.
package insight
