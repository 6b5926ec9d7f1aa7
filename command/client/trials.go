package client

import (
	"context"
	"math"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// TrialListing is a listing of trials that is read page by page.
type TrialListing struct {
	// Request says which trials, in what order, and how large a page is: PageSize if it says nothing.
	Request *trellisv1.ListTrialsRequest
	// Limit is how many trials are read at most, 0 for all.
	Limit uint64
	// Created is the study's create_index, if it is known already: another study of that name is refused.
	Created uint64
}

// TrialsRead says what has been read of a listing of trials.
type TrialsRead struct {
	// Total is how many trials there are, whatever the limit.
	Total uint64
	// Moved says that the study has changed between the pages of an order in which trials move: they may not be in order.
	Moved bool
}

// EachTrialPage calls do with the pages of a listing: each trial comes once, whatever happens to the study meanwhile.
//
// A page follows the one before in the order of now. Where trials move in that order, as those of a running study do, they
// come again, which is skipped, or never: without a limit, those come at the end, by index. It fails if the study is deleted
// meanwhile, or another one has its name.
func (c *Client) EachTrialPage(
	ctx context.Context, listing TrialListing, do func(*trellisv1.ListTrialsResponse) error,
) (TrialsRead, error) {
	p := &trialPages{client: c, of: listing, left: listing.Limit, do: do, seen: map[uint64]uint64{}}
	if p.left == 0 {
		p.left = math.MaxUint64
	}
	if err := p.read(ctx, listing.Request.GetOrderBy()); err != nil {
		return TrialsRead{}, err
	}
	if p.Moved && listing.Limit == 0 {
		if err := p.read(ctx, ""); err != nil {
			return TrialsRead{}, err
		}
	}
	return p.TrialsRead, nil
}

// trialPages are the pages of one listing.
type trialPages struct {
	TrialsRead
	client *Client
	of     TrialListing
	left   uint64
	do     func(*trellisv1.ListTrialsResponse) error
	// seen has a bit for each trial that has come, in an order in which they move.
	seen map[uint64]uint64
	// begun says that there was a page, and modified is the study's modify_index on the first.
	begun    bool
	modified uint64
}

// read reads the trials that have not come yet, in an order.
func (p *trialPages) read(ctx context.Context, orderBy string) error {
	request := &trellisv1.ListTrialsRequest{
		Study: p.of.Request.GetStudy(), OrderBy: orderBy, Filter: p.of.Request.GetFilter(),
		Losses: p.of.Request.GetLosses(), Runs: p.of.Request.GetRuns(),
	}
	size := p.of.Request.GetPageSize()
	if size == 0 {
		size = PageSize
	}
	for {
		request.PageSize = uint32(min(p.left, uint64(size)))
		page, err := Call(ctx, CallTimeout, p.client.ListTrials, request)
		if err := p.check(page, err); err != nil {
			return err
		}
		more := page.GetNextPageToken()
		p.skip(page)
		p.left -= min(p.left, uint64(len(page.GetTrials())))
		if err := p.do(page); err != nil {
			return err
		}
		request.PageToken = more
		if more == "" || p.left == 0 {
			return nil
		}
	}
}

// check sees to it that all pages are of the same study, and notes whether it has changed.
func (p *trialPages) check(page *trellisv1.ListTrialsResponse, err error) error {
	study := p.of.Request.GetStudy()
	switch {
	case status.Code(err) == codes.NotFound && p.begun:
		return status.Errorf(codes.NotFound, "study %q was deleted while its trials were read", study)
	case status.Code(err) == codes.Aborted,
		err == nil && p.of.Created > 0 && page.GetCreateIndex() > 0 && page.GetCreateIndex() != p.of.Created:
		return Replaced(study)
	case err != nil:
		return err
	}
	p.Total = page.GetTotal()
	if !p.begun {
		p.begun, p.modified, p.of.Created = true, page.GetModifyIndex(), page.GetCreateIndex()
	}
	p.Moved = p.Moved || p.moves() && page.GetModifyIndex() != p.modified
	return nil
}

// Replaced is the error for a study that was deleted and created again while it was read.
func Replaced(study string) error {
	return status.Errorf(codes.Aborted, "study %q was deleted and created again while it was read: repeat the command", study)
}

// moves says whether trials can move in the order that was asked for.
func (p *trialPages) moves() bool {
	name := strings.TrimPrefix(p.of.Request.GetOrderBy(), "-")
	return name != "" && name != "index"
}

// skip takes those trials out of a page that have come before.
func (p *trialPages) skip(page *trellisv1.ListTrialsResponse) {
	if !p.moves() {
		return
	}
	trials := page.GetTrials()
	page.Trials = nil
	for _, trial := range trials {
		word, bit := trial.GetIndex()/64, uint64(1)<<(trial.GetIndex()%64)
		if p.seen[word]&bit == 0 {
			p.seen[word] |= bit
			page.Trials = append(page.Trials, trial)
		}
	}
}
