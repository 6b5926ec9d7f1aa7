package results

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/listing"
)

// modelFilters are what studies of the model are filtered by: parameters, outcomes, both, and what can't be computed.
var modelFilters = []string{
	"latent_dim > 1", "latent_dim == 2 && learning_rate < 2", "max_epochs in [2, 3] || seed == 1", "seed != 2", "weight_decay > 0",
	"objective < 2", "objective >= 2.5 && latent_dim != 3", "!(objective > 1 || epochs == 0)", "1.5 >= objective", "objective != 2",
	"state == 'succeeded'", "state != 'pending' && max_epochs < 5", "state == 'pending' || objective < 3", "state == 'running'",
	"state in ['failed', 'canceled', 'diverged']", "state == 'pending' ? latent_dim > 1 : objective < 4", "state == 'pruned'",
	"epochs < max_epochs", "epochs >= 2 && best_epoch <= 1", "best_epoch == 0", "test_loss > 0 || latent_dim == 4", "index > 3",
	"index % 2 == 0 && objective < 3", "index < 4 || state == 'succeeded'", "objective * 2.0 < max_epochs", "test_loss == objective",
	"1 / (latent_dim - 2) == 1", "latent_dim > 9", "latent_dim < 9", "10 / epochs > 2", "epochs > 0 && 10 / epochs > 2",
	"latent_dim > 1 && latent_dim > 2 && objective < 5 && seed < 3 && max_epochs > 1", "2 / (max_epochs - 1) > 0 || state == 'pending'",
}

// checkFiltered compares pages of trials that meet some of the filters with those that are found by looking at each trial.
func (p *pair) checkFiltered(t *rapid.T, snapshot *Snapshot, name string, filters int) {
	study, err := snapshot.Study(nil, name)
	ok(p.tb, err)
	var all []*trellisv1.Trial
	for index := range study.Indices + 20 {
		if trial, err := snapshot.Trial(name, index); err == nil {
			all = append(all, trial)
		}
	}
	fields := listing.RankedBy(listing.RankingOf(study.Spec), listing.FieldsOn(grid.Parameters(study.Spec)))
	orders := []string{"", "-index", "objective", "-objective", "latent_dim", "-max_epochs", "state", "-epochs", "seed"}
	for i := range filters {
		expression := modelFilters[(int(p.index)*7+i*5)%len(modelFilters)]
		orderBy := orders[(int(p.index)+i)%len(orders)]
		filter, err := listing.NewFilter(expression, fields)
		ok(p.tb, err)
		key, err := listing.NewOrder(orderBy, fields)
		ok(p.tb, err)
		var wanted []*trellisv1.Trial
		fails := false
		for _, trial := range all {
			met, err := filter(trial)
			if fails = fails || err != nil; met {
				wanted = append(wanted, trial)
			}
		}
		slices.SortFunc(wanted, func(a, b *trellisv1.Trial) int {
			left, right := key(a), key(b)
			return bytes.Compare(left[:], right[:])
		})
		p.checkPages(t, snapshot, &trellisv1.ListTrialsRequest{
			Study: name, OrderBy: orderBy, Filter: expression, PageSize: uint32(2 + (int(p.index)*3+i)%13),
		}, wanted, fails)
	}
}

// checkJump wants the page after so many trials to be the same as by its token.
func (p *pair) checkJump(
	t *rapid.T, snapshot *Snapshot, request *trellisv1.ListTrialsRequest, want *trellisv1.ListTrialsResponse, offset uint64,
) {
	jump := proto.CloneOf(request)
	jump.PageToken, jump.Offset = "", offset
	got, err := snapshot.ListTrials(jump)
	ok(p.tb, err)
	if !proto.Equal(got, want) {
		t.Fatalf("%s by %q with %q after %d: %v, want %v", request.Study, request.OrderBy, request.Filter, offset, got, want)
	}
}

// checkPages wants pages to have trials, or to fail.
func (p *pair) checkPages(
	t *rapid.T, snapshot *Snapshot, request *trellisv1.ListTrialsRequest, wanted []*trellisv1.Trial, fails bool,
) {
	what := fmt.Sprintf("%s by %q with %q", request.Study, request.OrderBy, request.Filter)
	for next := 0; ; {
		response, err := snapshot.ListTrials(request)
		if fails != (err != nil) {
			t.Fatalf("%s: error %v, want one: %v", what, err, fails)
		}
		if fails {
			return
		}
		if response.Total != uint64(len(wanted)) {
			t.Fatalf("%s: %d trials, want %d", what, response.Total, len(wanted))
		}
		left := min(len(wanted)-next, int(request.PageSize))
		if len(response.Trials) != left || (response.NextPageToken == "") != (next+left == len(wanted)) {
			t.Fatalf("%s: %d trials from %d on and %q, want %d of %d", what, len(response.Trials), next,
				response.NextPageToken, left, len(wanted))
		}
		for i, trial := range response.Trials {
			if !proto.Equal(trial, wanted[next+i]) {
				t.Fatalf("%s: trial %d is\n%v\nwant\n%v", what, next+i, trial, wanted[next+i])
			}
		}
		if next > 0 {
			p.checkJump(t, snapshot, request, response, uint64(next))
		}
		if next += left; response.NextPageToken == "" || next > 3*int(request.PageSize) {
			return
		}
		request.PageToken = response.NextPageToken
	}
}
