// Package statistics finds the configurations of a search that are statistically tied with the best one, and those that
// need another seed to break the tie. It only knows numbers: no studies, no messages.
//
// A configuration is repeated with several seeds. Its objectives are a Sample, with one Observation per seed. The same
// seed gives every configuration the same initial weights and the same order of batches. So samples are compared by the
// differences of observations with the same seed (paired by seed): effects of a seed on all configurations cancel out.
//
// The truly best configuration is the one with the lowest expected objective over all possible seeds. The best one
// found is the one with the lowest mean. The contenders are those that are statistically tied with the best one found.
//
// # The claim
//
// The truly best configuration is among the contenders with a probability of at least the confidence, 1 - alpha.
//
// # Why it holds
//
// Let K configurations be compared, and call the truly best one b. At one look, configuration k is excluded if the
// one-sided paired t-test says at level alpha/(K-1) that it is worse than the best one found. The data decide which one
// that is, so bound the probability over all possibilities. For b to be excluded, there must be some j other than b for
// which the test of b against j rejects:
//
//	P(b is excluded) <= P(for some j: the test of b against j rejects) <= sum over j of P(the test of b against j rejects)
//
// Each of these K-1 tests is about one pair that is fixed beforehand, and the expected difference of b and j is not
// above 0. So if differences are normal, the test rejects with a probability of at most its level, alpha/(K-1), and the
// sum is at most alpha. It does not matter that the best one found is chosen from the same data, nor how configurations
// depend on each other: the bound adds up probabilities. (This is Bonferroni's correction of Hsu's multiple comparisons
// with the best; see J. C. Hsu, Multiple Comparisons, 1996, chapter 4.) Comparing all pairs would need K(K-1)/2 tests,
// but the claim is only about one configuration, b.
//
// With several looks, at 3, 4, 5, ... seeds, the level is also divided by their number L. Consider the results of all K
// configurations with all seeds, including those that were never trained. If a look excludes b, some test of b against
// some j at that look rejects. This is one of L(K-1) events that are all fixed beforehand, each with a probability of
// at most alpha/(L(K-1)). If configurations are excluded on the way and get no more seeds, this only decides which of
// the events are looked at. The same holds for stopping early.
//
// # Assumptions
//
//   - Seeds are independent of each other, and differences of objectives are normal. If their tails are heavy and
//     symmetric, the test is conservative. If they are skewed, it may err. TestCoverage measures both.
//   - The comparison is made once, or at the planned looks. If you add seeds yourself, look after each, and stop when
//     you like the result, the confidence is lower than stated.
//   - The claim is about these configurations, data and numbers of epochs. It says nothing about others.
//
// A configuration that has diverged, so that one of its objectives is not a finite number, is never a contender. It
// counts among the K, which is conservative.
//
// # Remaining bias
//
// The mean of the best one found is too low on average, because it was chosen for being low (the winner's curse). The
// bias grows with the number of contenders and shrinks with the number of seeds. Every single objective is biased too,
// because it is the lowest of many epochs' losses. The loss on test images has neither bias, because nothing is chosen
// by it. A usually small bias remains: its weights are those of the epoch that was best on the validation images, and
// if you compare several studies by their test losses, you choose by them after all.
package statistics
