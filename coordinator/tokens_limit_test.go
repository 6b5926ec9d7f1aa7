package coordinator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// The number of tokens is bounded by a limit, which the refusal names. Expired ones don't count, and are deleted.
func TestTokensAreBounded(t *testing.T) {
	serve(t, Config{Limits: Limits{Tokens: 2}}, func(h *harness) {
		client := trellisv1.NewAccessServiceClient(h.conn)
		create := func() error {
			_, err := client.CreateToken(h.Context(), &trellisv1.CreateTokenRequest{
				Role: trellisv1.Role_ROLE_WORKER, Name: "w", ExpireTime: timestamppb.New(time.Now().Add(time.Hour)),
			})
			return err
		}
		for range 2 {
			if err := create(); err != nil {
				t.Fatal(err)
			}
		}
		err := create()
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "limit tokens=2") {
			t.Errorf("the third of two tokens: %v", err)
		}
		<-time.After(time.Hour) // The clock is synctest's.
		if err := create(); err != nil {
			t.Errorf("when the first two have expired: %v", err)
		}
		listed, err := client.ListTokens(h.Context(), &trellisv1.ListTokensRequest{})
		if err != nil || len(listed.GetTokens()) != 1 {
			t.Errorf("listed %v, %v", listed, err)
		}
	})
}
