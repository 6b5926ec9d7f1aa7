package executor

import "time"

// pace finds out whether batches are faster on several goroutines than on one. They are not where others use the
// machine: a goroutine that loses its processor in the middle of a tile keeps all others waiting. That happens to some
// batches only and costs these much, so it is means that are compared, and of batches in turn, since what others do
// changes.
type pace struct {
	// comparison is what has been compared since the last verdict, which faster is.
	comparison
	faster bool
	// rest is how long there is no comparison, and patience how many times what the last one has cost.
	rest     time.Duration
	patience int
}

// comparison is of pairs of batches: one on one goroutine, and the next one on several.
type comparison struct {
	// alone is what a tile of the last batch took on one goroutine, unless it belongs to a pair already.
	alone time.Duration
	// took are the sums over the pairs, on one and on several.
	took  [2]time.Duration
	pairs int
	// clear is in how many pairs one kind was twice as fast as the other: less than 0 if that is one goroutine.
	clear int
}

// A comparison has compared pairs, or fewer if all of them are clear. The next one comes when again times what the
// slower batches have cost is over, and after twice as much each time that the verdict is the same, up to maxAgain
// times. So they cost a few percent at first, and less than one in the end.
const (
	compared = 8
	again    = 16
	maxAgain = 8 * again
)

// shared says whether the next batch should have several goroutines.
func (p *pace) shared() bool {
	if p.rest > 0 {
		return p.faster
	}
	return p.alone > 0
}

// observe notes how long a batch of that many tiles took. It may have had one member though several were asked for.
func (p *pace) observe(members, tiles int, took time.Duration) {
	if p.rest > 0 {
		p.rest -= took
		return
	}
	its := max(1, took/time.Duration(max(1, tiles)))
	if members == 1 || p.alone == 0 {
		p.alone = its
		return
	}
	p.add(its)
	if p.pairs < compared && (p.pairs < 2 || max(p.clear, -p.clear) < p.pairs) {
		return
	}
	alone, several := p.took[0], p.took[1]
	// Several take more of the processors: for less than a tenth they are better left to others.
	faster := 10*several < 9*alone
	if p.patience = min(2*p.patience, maxAgain); faster != p.faster || p.patience == 0 {
		p.patience = again
	}
	p.faster = faster
	// Where they hardly differ, a comparison costs nothing but processors.
	p.rest = time.Duration(tiles) * max(time.Duration(p.patience)*max(alone-several, several-alone), 4*(alone+several))
	p.comparison = comparison{}
}

// add adds a pair, of which a tile of the second batch took so long.
func (c *comparison) add(several time.Duration) {
	// A single batch that was interrupted says little.
	several = min(several, 16*c.alone)
	switch {
	case 2*several < c.alone:
		c.clear++
	case several > 2*c.alone:
		c.clear--
	}
	c.took[0] += c.alone
	c.took[1] += several
	c.alone = 0
	c.pairs++
}
