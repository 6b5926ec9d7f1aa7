package coordinator

import (
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// route says which node answers a method.
type route int

const (
	// unrouted is a method that the table does not know. It is refused.
	unrouted route = iota
	// anyNode answers, whatever it is in its cluster and whether or not it is a member: about itself.
	anyNode
	// readyNode answers from its own store, once that has all that was committed when the node started.
	readyNode
	// leaderNode answers, because something changes, or because all that has changed must be seen. Other nodes pass the
	// call on to it.
	leaderNode
)

// routes has every method of ours: a test compares it with what the server serves.
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
	// What the leader admits. Nodes of other versions may have other models.
	trellisv1.StudyService_ListModels_FullMethodName: leaderNode,

	trellisv1.TrialService_ListTrials_FullMethodName:   readyNode,
	trellisv1.TrialService_GetBestTrial_FullMethodName: readyNode,
	trellisv1.TrialService_GetRun_FullMethodName:       readyNode,

	trellisv1.TrialService_ListConfigurations_FullMethodName: readyNode,
	trellisv1.TrialService_GetReport_FullMethodName:          readyNode,
	trellisv1.TrialService_GetImportance_FullMethodName:      readyNode,
	trellisv1.TrialService_SuggestStudy_FullMethodName:       readyNode,

	// A worker is given a run by the leader, and asks for its data set at once: a follower may not know of the study
	// yet.
	trellisv1.DataSetService_GetDataSet_FullMethodName:       leaderNode,
	trellisv1.DataSetService_DownloadDataFile_FullMethodName: leaderNode,

	trellisv1.WorkerService_ListWorkers_FullMethodName: readyNode,
	trellisv1.WorkerService_Session_FullMethodName:     leaderNode,

	// Unless they share a store of artifacts, nodes have different ones. A node asks the others for what it does not
	// have.
	trellisv1.ArtifactService_UploadArtifact_FullMethodName:   leaderNode,
	trellisv1.ArtifactService_DownloadArtifact_FullMethodName: anyNode,

	trellisv1.ClusterService_GetCluster_FullMethodName:         anyNode,
	trellisv1.ClusterService_AddNode_FullMethodName:            leaderNode,
	trellisv1.ClusterService_RemoveNode_FullMethodName:         leaderNode,
	trellisv1.ClusterService_TransferLeadership_FullMethodName: leaderNode,
	trellisv1.ClusterService_Backup_FullMethodName:             leaderNode,
	trellisv1.ClusterService_Restore_FullMethodName:            leaderNode,
}

// routeOf returns a method's route, by its full name. Health and reflection are gRPC's own.
func routeOf(method string) route {
	if strings.HasPrefix(method, "/grpc.") {
		return anyNode
	}
	return routes[method]
}
