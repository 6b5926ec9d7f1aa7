package coordinator

import (
	"strings"

	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"trellis/coordinator/access"
	v1 "trellis/proto/trellis/v1"
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
	// leaderStore: leaderNode for what changes nothing. A leader that may have been replaced does not serve it.
	leaderStore
)

// roles is a set of roles. Its bits are numbered by trellisv1.Role.
type roles uint

// The roles, and the sets of them that the table of methods needs.
const (
	// anyone is who has not said who they are.
	anyone     = roles(1) << v1.Role_ROLE_UNSPECIFIED
	viewers    = roles(1) << v1.Role_ROLE_VIEWER
	submitters = roles(1) << v1.Role_ROLE_SUBMITTER
	admins     = roles(1) << v1.Role_ROLE_ADMIN
	workers    = roles(1) << v1.Role_ROLE_WORKER
	nodes      = roles(1) << v1.Role_ROLE_NODE

	readers  = viewers | submitters | admins
	changers = submitters | admins
	known    = readers | workers | nodes
)

// has says whether the set has the role.
func (r roles) has(role v1.Role) bool { return r&(1<<role) != 0 }

// String lists the roles: submitter or admin.
func (r roles) String() string {
	var names []string
	for role := range v1.Role(len(v1.Role_name)) {
		if role != v1.Role_ROLE_UNSPECIFIED && r.has(role) {
			names = append(names, access.RoleName(role))
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// method is a line of the table of methods.
type method struct {
	name  string
	where route
	may   roles
	// own says that submitters may call it for studies and reports of their own only.
	own bool
}

// methods has every method that is served: which node serves it, and who may call it. A method that is not here is
// refused. What changes something goes to the leader.
var methods = []method{
	{v1.StudyService_CreateStudy_FullMethodName, leaderNode, changers, false},
	{v1.StudyService_GetStudy_FullMethodName, readyNode, readers, false},
	{v1.StudyService_ListStudies_FullMethodName, readyNode, readers, false},
	{v1.StudyService_WatchStudy_FullMethodName, readyNode, readers, false},
	{v1.StudyService_PauseStudy_FullMethodName, leaderNode, changers, true},
	{v1.StudyService_ResumeStudy_FullMethodName, leaderNode, changers, true},
	{v1.StudyService_CancelStudy_FullMethodName, leaderNode, changers, true},
	{v1.StudyService_DeleteStudy_FullMethodName, leaderNode, changers, true},
	{v1.StudyService_DeleteCheckpoints_FullMethodName, leaderNode, changers, true},
	// It says what the leader would delete.
	{v1.StudyService_PlanCheckpointDeletion_FullMethodName, leaderStore, changers, false},
	{v1.StudyService_ExtendStudy_FullMethodName, leaderNode, changers, true},
	{v1.StudyService_RetryStudy_FullMethodName, leaderNode, changers, true},
	// The leader decides which models are accepted. Nodes of other versions may have other models.
	{v1.StudyService_PlanStudy_FullMethodName, leaderNode, changers, false},
	{v1.StudyService_ParseSpec_FullMethodName, leaderNode, changers, false},
	{v1.StudyService_PlanExtension_FullMethodName, leaderNode, changers, false},
	{v1.StudyService_FormatSpec_FullMethodName, leaderNode, readers, false},
	{v1.StudyService_ListModels_FullMethodName, leaderNode, readers, false},

	{v1.TrialService_ListTrials_FullMethodName, readyNode, readers, false},
	{v1.TrialService_GetTrial_FullMethodName, readyNode, readers, false},
	{v1.TrialService_GetBestTrial_FullMethodName, readyNode, readers, false},
	{v1.TrialService_GetRun_FullMethodName, readyNode, readers, false},
	// The leader asks workers for what they have not handed over yet.
	{v1.TrialService_GetOutput_FullMethodName, leaderNode, readers, false},
	{v1.TrialService_ListConfigurations_FullMethodName, readyNode, readers, false},
	{v1.TrialService_GetReport_FullMethodName, readyNode, readers, false},
	{v1.TrialService_GetImportance_FullMethodName, readyNode, readers, false},
	{v1.TrialService_SuggestStudy_FullMethodName, readyNode, readers, false},

	{v1.ChartService_GetCurves_FullMethodName, readyNode, readers, false},
	{v1.ChartService_GetPoints_FullMethodName, readyNode, readers, false},
	{v1.ChartService_GetHeatMap_FullMethodName, readyNode, readers, false},
	{v1.ChartService_GetHistory_FullMethodName, readyNode, readers, false},
	{v1.ChartService_GetDistribution_FullMethodName, readyNode, readers, false},
	{v1.ChartService_GetCoverage_FullMethodName, readyNode, readers, false},
	{v1.ChartService_GetTimeLine_FullMethodName, readyNode, readers, false},

	// A worker gets a run from the leader and asks for its data set immediately: a follower may not know the study yet.
	{v1.DataSetService_GetDataSet_FullMethodName, leaderNode, workers, false},
	{v1.DataSetService_DownloadDataFile_FullMethodName, leaderNode, workers, false},

	// Only the leader knows which workers it gives no runs for now.
	{v1.WorkerService_ListWorkers_FullMethodName, leaderStore, readers, false},
	{v1.WorkerService_Session_FullMethodName, leaderNode, workers, false},

	// Submitters upload the files of programs.
	{v1.ArtifactService_UploadArtifact_FullMethodName, leaderNode, workers | changers, false},
	{v1.ArtifactService_HasArtifact_FullMethodName, leaderNode, changers, false},
	// Unless nodes share an artifact store, they have different artifacts. A node asks the others for artifacts that it
	// does not have.
	{v1.ArtifactService_DownloadArtifact_FullMethodName, anyNode, readers | workers | nodes, false},

	// A node asks another who it is before it adds that one.
	{v1.ClusterService_GetCluster_FullMethodName, anyNode, readers | nodes, false},
	// A node that joins asks to be added.
	{v1.ClusterService_AddNode_FullMethodName, leaderNode, admins | nodes, false},
	{v1.ClusterService_RemoveNode_FullMethodName, leaderNode, admins, false},
	{v1.ClusterService_TransferLeadership_FullMethodName, leaderNode, admins, false},
	// A backup has all that has been acknowledged.
	{v1.ClusterService_Backup_FullMethodName, leaderStore, admins, false},
	{v1.ClusterService_Restore_FullMethodName, leaderNode, admins, false},

	{v1.AccessService_WhoAmI_FullMethodName, anyNode, known, false},
	{v1.AccessService_CreateToken_FullMethodName, leaderNode, admins, false},
	{v1.AccessService_ListTokens_FullMethodName, leaderStore, admins, false},
	{v1.AccessService_RevokeToken_FullMethodName, leaderNode, admins, false},
	{v1.AccessService_ListEvents_FullMethodName, leaderStore, readers, false},
	// Another node may not know of the event that a watch continues after.
	{v1.AccessService_WatchEvents_FullMethodName, leaderStore, readers, false},

	// URLs of hooks are often secrets, so that who reads studies must not see them.
	{v1.HookService_CreateHook_FullMethodName, leaderNode, admins, false},
	{v1.HookService_ListHooks_FullMethodName, leaderStore, admins, false},
	{v1.HookService_DeleteHook_FullMethodName, leaderNode, admins, false},
	{v1.HookService_TestHook_FullMethodName, leaderNode, admins, false},
	{v1.HookService_ListDeliveries_FullMethodName, leaderNode, admins, false},

	{v1.PaperService_PutPaperReport_FullMethodName, leaderNode, changers, true},
	{v1.PaperService_GetPaperReport_FullMethodName, readyNode, readers, false},
	{v1.PaperService_ListPaperReports_FullMethodName, readyNode, readers, false},
	{v1.PaperService_DeletePaperReport_FullMethodName, leaderNode, changers, true},
	{v1.PaperService_DownloadPicture_FullMethodName, readyNode, readers, false},

	// Load balancers have no credentials.
	{grpc_health_v1.Health_Check_FullMethodName, anyNode, anyone | known, false},
	{grpc_health_v1.Health_Watch_FullMethodName, anyNode, known, false},
	{grpc_health_v1.Health_List_FullMethodName, anyNode, known, false},
	{reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName, anyNode, known, false},
	{reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName, anyNode, known, false},
}

var methodsByName = func() map[string]method {
	byName := make(map[string]method, len(methods))
	for _, one := range methods {
		byName[one.name] = one
	}
	return byName
}()

// routeOf returns the route of a method, given its full name.
func routeOf(name string) route { return methodsByName[name].where }
