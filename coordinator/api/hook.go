package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	"trellis/coordinator/webhook"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/hook"
)

// HookSender posts an event to a hook.
type HookSender interface {
	Send(ctx context.Context, h *trellisv1.Hook, event *trellisv1.HookEvent) webhook.Answer
}

// hookService manages web hooks. The leader's loop delivers to them.
type hookService struct {
	trellisv1.UnimplementedHookServiceServer
	store  Snapshots
	log    Log
	sender HookSender
}

// CreateHook makes a hook, and its secret if the caller has none.
func (s hookService) CreateHook(
	ctx context.Context, request *trellisv1.CreateHookRequest,
) (*trellisv1.CreateHookResponse, error) {
	response := &trellisv1.CreateHookResponse{}
	secret := request.GetSecret()
	if secret == "" {
		secret = webhook.NewSecret()
		response.Secret = secret
	}
	key, err := webhook.Key(secret)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	created := &trellisv1.Hook{
		Name: request.GetName(), Url: request.GetUrl(), Events: request.GetEvents(), Study: request.GetStudy(),
		Authority: request.GetAuthority(), AllowHttp: request.GetAllowHttp(), Secret: key,
		Creator: access.Of(ctx).Message(),
	}
	if len(created.Events) == 0 {
		created.Events = hook.Types
	}
	for _, err := range []error{
		webhook.CheckURL(created.Url, created.AllowHttp), webhook.CheckAuthority(created.Authority), hook.Check(created),
	} {
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	if _, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateHook{
		CreateHook: &trellisv1.CreateHookCommand{Hook: created},
	}}); err != nil {
		return nil, Status(err)
	}
	stored, err := s.store.Snapshot().Hook(created.Name)
	if err != nil {
		return nil, Status(err)
	}
	response.Hook = withoutSecret(stored)
	return response, nil
}

// withoutSecret returns a hook as clients see it.
func withoutSecret(h *trellisv1.Hook) *trellisv1.Hook {
	return &trellisv1.Hook{
		Name: h.GetName(), Url: h.GetUrl(), Events: h.GetEvents(), Study: h.GetStudy(), Authority: h.GetAuthority(),
		AllowHttp: h.GetAllowHttp(), CreateTime: h.GetCreateTime(), CreateIndex: h.GetCreateIndex(),
		Creator: h.GetCreator(), Created: h.GetCreated(), Done: h.GetDone(), DisableTime: h.GetDisableTime(),
	}
}

// ListHooks returns all hooks, without their secrets.
func (s hookService) ListHooks(
	context.Context, *trellisv1.ListHooksRequest,
) (*trellisv1.ListHooksResponse, error) {
	hooks, err := s.store.Snapshot().Hooks(nil)
	if err != nil {
		return nil, Status(err)
	}
	response := &trellisv1.ListHooksResponse{}
	for _, h := range hooks {
		response.Hooks = append(response.Hooks, withoutSecret(h))
	}
	return response, nil
}

// DeleteHook deletes a hook.
func (s hookService) DeleteHook(
	ctx context.Context, request *trellisv1.DeleteHookRequest,
) (*trellisv1.DeleteHookResponse, error) {
	if _, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_DeleteHook{
		DeleteHook: &trellisv1.DeleteHookCommand{Name: request.GetHook()},
	}}); err != nil {
		return nil, Status(err)
	}
	return &trellisv1.DeleteHookResponse{}, nil
}

// TestHook posts an event that says nothing. It is not recorded.
func (s hookService) TestHook(
	ctx context.Context, request *trellisv1.TestHookRequest,
) (*trellisv1.TestHookResponse, error) {
	h, err := s.store.Snapshot().Hook(request.GetHook())
	if err != nil {
		return nil, Status(err)
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	answer := s.sender.Send(ctx, h, &trellisv1.HookEvent{
		Id: "evt_" + hex.EncodeToString(id), Type: hook.Test, Timestamp: timestamppb.New(time.Now()),
		Data: &trellisv1.HookEventData{},
	})
	return &trellisv1.TestHookResponse{
		Status: uint32(answer.Status), Error: answer.Error, Took: durationpb.New(answer.Took),
	}, nil
}

// ListDeliveries returns a page of a hook's deliveries, newest first.
func (s hookService) ListDeliveries(
	_ context.Context, request *trellisv1.ListDeliveriesRequest,
) (*trellisv1.ListDeliveriesResponse, error) {
	response, err := s.store.Snapshot().ListDeliveries(request)
	return response, Status(err)
}
