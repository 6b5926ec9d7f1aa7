// Package insight interprets a study's results: which configuration is best and how certain that is (BestTrial), how
// configurations rank (ListConfigurations), where the result of every point comes from (Report), which axes matter
// (Importance), what to search next (SuggestStudy), and which trials a study with settle needs next (NextSeed). It
// reads snapshots of the store. The store does not know this package.
//
// # Configurations
//
// A configuration is a point of the grid without its seed. A study with several seeds repeats each configuration with
// each seed, and ranks configurations by the mean of their objectives. A seed counts if at least half of the
// configurations have a result with it. The best is chosen among the configurations that have the largest number of
// seeds that count, so that one lucky seed does not win against five ordinary ones. The others rank after these. A
// configuration with an objective that is not a finite number ranks last. With one seed, configurations rank like their
// trials.
//
// Package statistics finds the configurations that are statistically tied with the best. Ranking and verdict only use
// validation losses. The mean test loss of a configuration is reported too.
//
// What a study with settle needs next follows from its trials' results. Only the fact that settling has finished is
// stored, as Study.settled.
package insight
