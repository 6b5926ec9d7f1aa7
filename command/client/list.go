package client

import (
	"context"
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// EachConfiguration calls do with every configuration that the request asks for, or with the first limit of them, and
// returns how many there are.
func (c *Client) EachConfiguration(
	ctx context.Context, request *trellisv1.ListConfigurationsRequest, limit uint64,
	do func(*trellisv1.Configuration) error,
) (total uint64, err error) {
	left := limit
	if limit == 0 {
		left = math.MaxUint64
	}
	for {
		request.PageSize = uint32(min(left, PageSize))
		response, err := Call(ctx, CallTimeout, c.ListConfigurations, request)
		if err != nil {
			return 0, err
		}
		for _, configuration := range response.GetConfigurations() {
			if err := do(configuration); err != nil {
				return 0, err
			}
		}
		left -= min(left, uint64(len(response.GetConfigurations())))
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" || left == 0 {
			return response.GetTotal(), nil
		}
	}
}

// PageSize is how many items a listing asks for at once.
const PageSize = 500

// EachStudy calls do with every study, oldest first.
func (c *Client) EachStudy(ctx context.Context, do func(*trellisv1.Study) error) error {
	request := &trellisv1.ListStudiesRequest{PageSize: PageSize}
	for {
		response, err := Call(ctx, CallTimeout, c.ListStudies, request)
		if err != nil {
			return err
		}
		for _, study := range response.GetStudies() {
			if err := do(study); err != nil {
				return err
			}
		}
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" {
			return nil
		}
	}
}

// EachWorker calls do with every worker, by name.
func (c *Client) EachWorker(ctx context.Context, do func(*trellisv1.Worker) error) error {
	request := &trellisv1.ListWorkersRequest{PageSize: PageSize}
	for {
		response, err := Call(ctx, CallTimeout, c.workers.ListWorkers, request)
		if err != nil {
			return err
		}
		for _, worker := range response.GetWorkers() {
			if err := do(worker); err != nil {
				return err
			}
		}
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" {
			return nil
		}
	}
}

// EachToken calls do with every token, by id.
func (c *Client) EachToken(ctx context.Context, do func(*trellisv1.Token) error) error {
	request := &trellisv1.ListTokensRequest{PageSize: PageSize}
	for {
		response, err := Call(ctx, CallTimeout, c.ListTokens, request)
		if err != nil {
			return err
		}
		for _, token := range response.GetTokens() {
			if err := do(token); err != nil {
				return err
			}
		}
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" {
			return nil
		}
	}
}

// EachEvent calls do with every event, newest first, or with the first limit of them.
func (c *Client) EachEvent(ctx context.Context, limit uint64, do func(*trellisv1.Event) error) error {
	left := limit
	if limit == 0 {
		left = math.MaxUint64
	}
	request := &trellisv1.ListEventsRequest{}
	for {
		request.PageSize = uint32(min(left, PageSize))
		response, err := Call(ctx, CallTimeout, c.ListEvents, request)
		if err != nil {
			return err
		}
		for _, event := range response.GetEvents() {
			if err := do(event); err != nil {
				return err
			}
		}
		left -= min(left, uint64(len(response.GetEvents())))
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" || left == 0 {
			return nil
		}
	}
}

// EachDelivery calls do with every delivery of a hook, newest first.
func (c *Client) EachDelivery(ctx context.Context, hook string, do func(*trellisv1.Delivery) error) error {
	request := &trellisv1.ListDeliveriesRequest{Hook: hook, PageSize: PageSize}
	for {
		response, err := Call(ctx, CallTimeout, c.ListDeliveries, request)
		if err != nil {
			return err
		}
		for _, delivery := range response.GetDeliveries() {
			if err := do(delivery); err != nil {
				return err
			}
		}
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" {
			return nil
		}
	}
}
