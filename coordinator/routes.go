package coordinator

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"

	trellisv1 "trellis/proto/trellis/v1"
)

// route says which node serves a method.
type route int

const (
	// unrouted is the route of a method that is not in the table. The method is refused.
	unrouted route = iota
	// anyNode: the node that gets the call serves it, about itself, whatever its role in the cluster and even if it is
	// not a member.
	anyNode
	// readyNode: the node that gets the call serves it from its own store, once that has everything that was committed
	// when the node started.
	readyNode
	// leaderNode: the leader serves the call, because it changes something or must see all changes. Other nodes forward
	// the call to the leader.
	leaderNode
)

// readsElsewhere are the methods without side effects that are not answered by any ready node.
var readsElsewhere = map[string]route{
	// The leader decides which models are accepted. Nodes of other versions may have other models.
	trellisv1.StudyService_PlanStudy_FullMethodName:  leaderNode,
	trellisv1.StudyService_ListModels_FullMethodName: leaderNode,

	// A worker gets a run from the leader and asks for its data set immediately: a follower may not know the study yet.
	trellisv1.DataSetService_GetDataSet_FullMethodName:       leaderNode,
	trellisv1.DataSetService_DownloadDataFile_FullMethodName: leaderNode,

	// A backup has all that has been acknowledged.
	trellisv1.ClusterService_Backup_FullMethodName: leaderNode,

	// Unless nodes share an artifact store, they have different artifacts. A node asks the others for artifacts that it
	// does not have.
	trellisv1.ArtifactService_DownloadArtifact_FullMethodName: anyNode,

	trellisv1.ClusterService_GetCluster_FullMethodName: anyNode,
}

// routes has every method of Trellis. Those that service.proto says have no side effects are answered by any ready node,
// unless readsElsewhere says otherwise; all others change something, which the leader alone does.
var routes = newRoutes()

func newRoutes() map[string]route {
	routes := map[string]route{}
	services := trellisv1.File_trellis_v1_service_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			method := methods.Get(j)
			name := fmt.Sprintf("/%s/%s", services.Get(i).FullName(), method.Name())
			switch elsewhere, ok := readsElsewhere[name]; {
			case method.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() !=
				descriptorpb.MethodOptions_NO_SIDE_EFFECTS:
				routes[name] = leaderNode
			case ok:
				routes[name] = elsewhere
			default:
				routes[name] = readyNode
			}
		}
	}
	return routes
}

// routeOf returns the route of a method, given its full name. Health and reflection are gRPC's own services.
func routeOf(method string) route {
	if strings.HasPrefix(method, "/grpc.") {
		return anyNode
	}
	return routes[method]
}
