package client

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// CutOff says whether an answer had begun when its connection was lost. gRPC does not repeat such calls by itself.
func CutOff(err error) bool {
	return status.Code(err) == codes.Internal && strings.Contains(status.Convert(err).Message(), io.ErrUnexpectedEOF.Error())
}

// repeatable has the services and methods of retryPolicy: "trellis.v1.TrialService", "trellis.v1.StudyService/GetStudy".
var repeatable = func() map[string]bool {
	var policy struct {
		MethodConfig []struct {
			Name []struct{ Service, Method string }
		}
	}
	if err := json.Unmarshal([]byte(retryPolicy), &policy); err != nil {
		panic(err)
	}
	names := map[string]bool{}
	for _, config := range policy.MethodConfig {
		for _, name := range config.Name {
			names[strings.TrimSuffix(name.Service+"/"+name.Method, "/")] = true
		}
	}
	return names
}()

// cutOffPause is how long a call waits until it is made again because its answer was cut off.
const cutOffPause = 200 * time.Millisecond

// againUnary makes a call again whose answer was cut off, if retryPolicy would have made it again before its answer began.
func againUnary(
	ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	name := strings.TrimPrefix(method, "/")
	service, _, _ := strings.Cut(name, "/")
	for {
		err := invoke(ctx, method, request, response, conn, options...)
		if !CutOff(err) || !repeatable[name] && !repeatable[service] {
			return err
		}
		select {
		case <-time.After(cutOffPause):
		case <-ctx.Done():
			return err
		}
	}
}
