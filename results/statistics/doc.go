// Package statistics says which configurations of a search can't be told apart from the best one, and which need
// another seed before they can. It knows numbers only: no studies, no messages.
//
// A configuration is repeated with several seeds. Its objectives are a Sample, one Observation per seed. The same seed
// gives the same initial weights and the same order of batches to every configuration, so that samples are compared by
// the differences of observations that have a seed in common (paired by seed): what a seed does to all alike cancels
// out.
//
// The truly best configuration is the one with the lowest expected objective over all seeds that there could be. The
// best one found is that with the lowest mean. The contenders are those that can't be told apart from the best one
// found.
//
// # The claim
//
// The truly best configuration is among the contenders with a chance of at least the confidence, 1 - alpha.
//
// # Why it holds
//
// Let K configurations be compared, and call the truly best one b. At one look, configuration k is excluded if the
// one-sided paired t-test says at level alpha/(K-1) that it is worse than the best one found. Which that is, the data
// say; so bound the chance over all that it could be. For b to be excluded, there must be some j other than b for which
// the test of b against j rejects:
//
//	P(b is excluded) <= P(for some j: the test of b against j rejects) <= sum over j of P(the test of b against j rejects)
//
// Each of these K-1 tests is about one pair that is fixed beforehand, and the expected difference of b and j is at most
// 0. Where differences are normal, the test therefore rejects with a chance of at most its level, alpha/(K-1), and the
// sum is at most alpha. Neither the choice of the best one found from the same data nor any dependence between
// configurations matters: the bound adds up chances. (This is Bonferroni's correction of Hsu's multiple comparisons
// with the best; see J. C. Hsu, Multiple Comparisons, 1996, chapter 4.) Comparing all pairs would need K(K-1)/2 tests,
// but the claim is about one configuration, b, only.
//
// With several looks, at 3, 4, 5, ... seeds, the level is divided by their number L too. Think of what all K
// configurations would have given with all seeds, also those that were never trained. Whatever look excludes b, some
// test of b against some j at that look rejects: one of L(K-1) events, all of which are fixed beforehand, each with a
// chance of at most alpha/(L(K-1)). That configurations drop out on the way, and are given no more seeds, decides only
// which of the events are looked at. So does stopping early.
//
// # What it takes for granted
//
//   - Seeds are independent of each other, and differences of objectives are normal. Where they have heavy, symmetric tails the
//     test is cautious. Where they are skewed it may err; TestCoverage measures both.
//   - The comparison is made once, or by the looks that were planned. Who looks after every seed that he adds by himself, and
//     stops when he likes what he sees, has less confidence than it says.
//   - It is about these configurations, data and numbers of epochs. It says nothing about others.
//
// A configuration that has diverged, so that an objective of it is not a finite number, is never a contender; it counts
// among the K, which is cautious.
//
// # Where bias remains
//
// The mean of the best one found is too low on average, because it was chosen for being low (the winner's curse): the
// more contenders and the fewer seeds, the more. So is every objective by itself, as the lowest of many epochs' losses.
// The loss on test images, which takes part in no choice, has neither bias. It has a remaining one, usually small: its
// weights are those of the epoch that was best on the validation images, and whoever compares several studies by their
// test losses chooses by them after all.
package statistics
