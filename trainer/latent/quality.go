package latent

import (
	"context"
	"math"
)

// Trustworthiness says from 0 to 1 whether the nearest neighbours of each point in the embedding are near it in the
// original space too: 1 - 2 / (n k (2n - 3k - 1)) times the sum over all points and their k neighbours in the embedding
// of how far the neighbour's rank in the original space exceeds k (Venna and Kaski, "Neighborhood preservation in
// nonlinear projection methods: an experimental study", 2001; scikit-learn's manifold.trustworthiness).
//
// neighbours, k, is from 1 to less than half the number of points. Of equally near points the one with the lower number
// ranks first. It takes time quadratic in the number of points.
//
// It returns an error wrapping ErrInvalidPoints or ErrInvalidOption, or ctx's error.
func Trustworthiness(ctx context.Context, original, embedding Points, neighbours int) (float64, error) {
	if err := original.check(3); err != nil {
		return 0, err
	}
	n := original.Len()
	if err := checkEmbedding(original, embedding); err != nil {
		return 0, err
	}
	if err := checkNeighbours(neighbours, (n-1)/2); err != nil {
		return 0, err
	}
	near, err := nearestNeighbours(ctx, embedding, neighbours)
	if err != nil {
		return 0, err
	}
	penalty, err := sumOfBlocks(ctx, n, func(first, last int) float64 {
		var excess int
		ranks := make([]int, neighbours)
		theirs := make([]neighbour, neighbours)
		for i := first; i < last && ctx.Err() == nil; i++ {
			for j, other := range near[i*neighbours : (i+1)*neighbours] {
				theirs[j] = neighbour{squaredDistance(original.Row(i), original.Row(int(other.point))), other.point}
			}
			ranksAmongAll(original, i, theirs, ranks)
			for _, rank := range ranks {
				excess += max(0, rank-neighbours)
			}
		}
		return float64(excess)
	})
	if err != nil {
		return 0, err
	}
	k := float64(neighbours)
	return 1 - penalty*2/(float64(n)*k*(2*float64(n)-float64(3*k)-1)), nil
}

// ranksAmongAll sets ranks to those of some other points by their distance from point i, among all others: 1 for the
// nearest. It reorders the points, nearest first, and the ranks go with them.
func ranksAmongAll(points Points, i int, others []neighbour, ranks []int) {
	sortNeighbours(others)
	for j := range ranks {
		ranks[j] = 0
	}
	row, farthest := points.Row(i), others[len(others)-1]
	for j := range points.Len() {
		candidate := neighbour{squaredDistance(row, points.Row(j)), int32(j)}
		if j == i || farthest.less(candidate) {
			continue
		}
		// It comes before all from here on, or is the first of these itself.
		at := 0
		for others[at].less(candidate) {
			at++
		}
		ranks[at]++
	}
	for j := 1; j < len(ranks); j++ {
		ranks[j] += ranks[j-1]
	}
}

// NearestNeighbourAccuracy returns the share of points whose label is the most frequent one among their nearest
// neighbours, themselves left out. Of equally frequent labels the lowest counts, of equally near points those with the
// lowest numbers, as in scikit-learn's KNeighborsClassifier.
//
// labels has one for each point; neighbours is from 1 to less than the number of points.
//
// It returns an error wrapping ErrInvalidPoints or ErrInvalidOption, or ctx's error.
func NearestNeighbourAccuracy(ctx context.Context, points Points, labels []byte, neighbours int) (float64, error) {
	if err := points.check(2); err != nil {
		return 0, err
	}
	n := points.Len()
	if err := checkLabels(points, labels); err != nil {
		return 0, err
	}
	if err := checkNeighbours(neighbours, n-1); err != nil {
		return 0, err
	}
	near, err := nearestNeighbours(ctx, points, neighbours)
	if err != nil {
		return 0, err
	}
	correct := 0
	for i, label := range labels {
		var votes [256]int
		most := 0
		for _, other := range near[i*neighbours : (i+1)*neighbours] {
			vote := &votes[labels[other.point]]
			*vote++
			most = max(most, *vote)
		}
		elected := 0
		for votes[elected] < most {
			elected++
		}
		if elected == int(label) {
			correct++
		}
	}
	return float64(correct) / float64(n), nil
}

// Silhouette returns the mean over all points of (b - a) / max(a, b), from -1 to 1: a is the mean distance of the point
// from the others of its label, b that from the points of the label that is nearest in this sense (Rousseeuw,
// "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", 1987; scikit-learn's
// metrics.silhouette_score). A point that is alone with its label counts 0, as does one with a = b = 0.
//
// labels has one for each point, of two values at least. byLabel has the mean over the points of each label, from 0 to
// the highest there is, NaN for those that no point has. It takes time quadratic in the number of points.
//
// It returns an error wrapping ErrInvalidPoints, or ctx's error.
func Silhouette(ctx context.Context, points Points, labels []byte) (mean float64, byLabel []float64, err error) {
	if err := points.check(2); err != nil {
		return 0, nil, err
	}
	if err := checkLabels(points, labels); err != nil {
		return 0, nil, err
	}
	var counts [256]int
	highest, kinds := 0, 0
	for _, label := range labels {
		if counts[label] == 0 {
			kinds++
		}
		counts[label]++
		highest = max(highest, int(label))
	}
	if kinds < 2 {
		return 0, nil, errOneLabel(labels[0])
	}
	n := points.Len()
	silhouettes := make([]float64, n)
	t := newTeam(ctx)
	defer t.stop()
	err = t.do(blockCount(n), func(block int) {
		for i := range intRange(blockRange(block, n)) {
			if ctx.Err() != nil {
				return
			}
			silhouettes[i] = silhouette(points, labels, &counts, i)
		}
	})
	if err != nil {
		return 0, nil, err
	}
	byLabel = make([]float64, highest+1)
	for i, s := range silhouettes {
		byLabel[labels[i]] += s
	}
	for label := range byLabel {
		mean += byLabel[label]
		if byLabel[label] /= float64(counts[label]); counts[label] == 0 {
			byLabel[label] = math.NaN()
		}
	}
	return mean / float64(n), byLabel, nil
}

// silhouette returns that of point i. counts has the number of points of each label.
func silhouette(points Points, labels []byte, counts *[256]int, i int) float64 {
	own := labels[i]
	if counts[own] == 1 {
		return 0
	}
	var sums [256]float64
	row := points.Row(i)
	for j, label := range labels {
		sums[label] += math.Sqrt(squaredDistance(row, points.Row(j)))
	}
	within := sums[own] / float64(counts[own]-1)
	between := math.Inf(1)
	for label, sum := range sums {
		if label != int(own) && counts[label] > 0 {
			between = min(between, sum/float64(counts[label]))
		}
	}
	if larger := max(within, between); larger > 0 {
		return (between - within) / larger
	}
	return 0
}
