package api

import (
	"context"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

// accessService manages tokens, and tells who has called.
type accessService struct {
	trellisv1.UnimplementedAccessServiceServer
	store Snapshots
	log   Log
	// limit is on the number of tokens that have not expired.
	limit    quota.Limit
	stopping context.Context
}

// WhoAmI returns who the caller is.
func (s accessService) WhoAmI(ctx context.Context, _ *trellisv1.WhoAmIRequest) (*trellisv1.WhoAmIResponse, error) {
	call := access.CallOf(ctx)
	return &trellisv1.WhoAmIResponse{Principal: call.Principal.Message(), Token: call.Token}, nil
}

// CreateToken makes a token. Only its hash reaches the log.
func (s accessService) CreateToken(
	ctx context.Context, request *trellisv1.CreateTokenRequest,
) (*trellisv1.CreateTokenResponse, error) {
	if expires := request.GetExpireTime(); expires != nil && !expires.AsTime().After(time.Now()) {
		return nil, status.Error(codes.InvalidArgument, "the token would have expired already")
	}
	count, err := s.store.Snapshot().CountTokens(time.Now())
	if err != nil {
		return nil, Status(err)
	}
	if limit := s.limit.InAll; limit > 0 && int64(count) >= limit {
		return nil, &quota.Exceeded{Limit: s.limit, Held: int64(count), Asked: 1}
	}
	secret, id, hash := access.NewSecret()
	token := &trellisv1.Token{
		Id: id, Principal: &trellisv1.Principal{Role: request.GetRole(), Name: request.GetName()}, Hash: hash,
		ExpireTime: request.GetExpireTime(), Creator: access.Of(ctx).Message(),
	}
	if _, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateToken{
		CreateToken: &trellisv1.CreateTokenCommand{Token: token},
	}}); err != nil {
		return nil, Status(err)
	}
	stored, err := s.store.Snapshot().Token(id)
	if err != nil {
		return nil, Status(err)
	}
	return &trellisv1.CreateTokenResponse{Token: access.WithoutHash(stored), Secret: secret}, nil
}

// ListTokens returns a page of the tokens, without their hashes.
func (s accessService) ListTokens(
	_ context.Context, request *trellisv1.ListTokensRequest,
) (*trellisv1.ListTokensResponse, error) {
	response, err := s.store.Snapshot().ListTokens(request)
	if err != nil {
		return nil, Status(err)
	}
	for i, token := range response.GetTokens() {
		response.Tokens[i] = access.WithoutHash(token)
	}
	return response, nil
}

// RevokeToken deletes a token.
func (s accessService) RevokeToken(
	ctx context.Context, request *trellisv1.RevokeTokenRequest,
) (*trellisv1.RevokeTokenResponse, error) {
	token, err := s.store.Snapshot().Token(request.GetId())
	if err != nil {
		return nil, Status(err)
	}
	if _, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_RevokeToken{
		RevokeToken: &trellisv1.RevokeTokenCommand{Id: request.GetId()},
	}}); err != nil {
		return nil, Status(err)
	}
	return &trellisv1.RevokeTokenResponse{Token: access.WithoutHash(token)}, nil
}

// ListEvents returns a page of the events, newest first.
func (s accessService) ListEvents(
	_ context.Context, request *trellisv1.ListEventsRequest,
) (*trellisv1.ListEventsResponse, error) {
	response, err := s.store.Snapshot().ListEvents(request)
	return response, Status(err)
}

// maxEvents is how many events a response of a watch has at most.
const maxEvents = 1000

// WatchEvents sends events as they happen. Each response is made from the store when it is sent: nothing is held for a slow
// reader, who is told how many events are no longer kept by then.
func (s accessService) WatchEvents(
	request *trellisv1.WatchEventsRequest, stream trellisv1.AccessService_WatchEventsServer,
) error {
	number := request.GetSinceNumber()
	if request.SinceNumber == nil {
		var err error
		if number, err = s.store.Snapshot().LastEvent(); err != nil {
			return Status(err)
		}
	}
	for first := true; ; first = false {
		watch := memdb.NewWatchSet()
		events, missed, err := s.store.Snapshot().EventsAfter(watch, number, maxEvents)
		if err != nil {
			return Status(err)
		}
		if len(events) > 0 {
			number = events[len(events)-1].GetNumber()
		}
		if first || len(events) > 0 {
			response := &trellisv1.WatchEventsResponse{Events: events, Number: number, Missed: missed}
			if err := stream.Send(response); err != nil {
				return Status(err)
			}
		}
		if len(events) < maxEvents {
			if err := awaitChange(stream.Context(), s.stopping, watch); err != nil {
				return err
			}
		}
	}
}
