package coordinator

import (
	"strings"

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

// routes has every method of Trellis. A test compares it with what the server serves.
var routes = map[string]route{
	trellisv1.StudyService_CreateStudy_FullMethodName: leaderNode,
	trellisv1.StudyService_GetStudy_FullMethodName:    readyNode,
	trellisv1.StudyService_ListStudies_FullMethodName: readyNode,
	trellisv1.StudyService_WatchStudy_FullMethodName:  readyNode,
	trellisv1.StudyService_PauseStudy_FullMethodName:  leaderNode,
	trellisv1.StudyService_ResumeStudy_FullMethodName: leaderNode,
	trellisv1.StudyService_CancelStudy_FullMethodName: leaderNode,
	trellisv1.StudyService_DeleteStudy_FullMethodName: leaderNode,
	trellisv1.StudyService_ExtendStudy_FullMethodName: leaderNode,
	trellisv1.StudyService_RetryStudy_FullMethodName:  leaderNode,
	trellisv1.StudyService_PlanStudy_FullMethodName:   leaderNode,
	// The leader decides which models are accepted. Nodes of other versions may have other models.
	trellisv1.StudyService_ListModels_FullMethodName: leaderNode,

	trellisv1.TrialService_ListTrials_FullMethodName:   readyNode,
	trellisv1.TrialService_GetBestTrial_FullMethodName: readyNode,
	trellisv1.TrialService_GetRun_FullMethodName:       readyNode,

	trellisv1.TrialService_ListConfigurations_FullMethodName: readyNode,
	trellisv1.TrialService_GetReport_FullMethodName:          readyNode,
	trellisv1.TrialService_GetImportance_FullMethodName:      readyNode,
	trellisv1.TrialService_SuggestStudy_FullMethodName:       readyNode,

	// A worker gets a run from the leader and asks for its data set immediately: a follower may not know the study yet.
	trellisv1.DataSetService_GetDataSet_FullMethodName:       leaderNode,
	trellisv1.DataSetService_DownloadDataFile_FullMethodName: leaderNode,

	trellisv1.WorkerService_ListWorkers_FullMethodName: readyNode,
	trellisv1.WorkerService_Session_FullMethodName:     leaderNode,

	// Unless nodes share an artifact store, they have different artifacts. A node asks the others for artifacts that it
	// does not have.
	trellisv1.ArtifactService_UploadArtifact_FullMethodName:   leaderNode,
	trellisv1.ArtifactService_DownloadArtifact_FullMethodName: anyNode,

	trellisv1.ClusterService_GetCluster_FullMethodName:         anyNode,
	trellisv1.ClusterService_AddNode_FullMethodName:            leaderNode,
	trellisv1.ClusterService_RemoveNode_FullMethodName:         leaderNode,
	trellisv1.ClusterService_TransferLeadership_FullMethodName: leaderNode,
	trellisv1.ClusterService_Backup_FullMethodName:             leaderNode,
	trellisv1.ClusterService_Restore_FullMethodName:            leaderNode,
}

// routeOf returns the route of a method, given its full name. Health and reflection are gRPC's own services.
func routeOf(method string) route {
	if strings.HasPrefix(method, "/grpc.") {
		return anyNode
	}
	return routes[method]
}
