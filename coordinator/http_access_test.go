package coordinator

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	"trellis/coordinator/access"
	"trellis/coordinator/web"
	trellisv1 "trellis/proto/trellis/v1"
)

// listenHTTP returns a listener for Config.HTTP.
func listenHTTP(t *testing.T) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// httpClient is a client with a certificate or none. Its requests have a token, if there is one.
func (s *secured) httpClient(certificate access.Files, secret string) *http.Client {
	s.Helper()
	content, err := os.ReadFile(s.own.files("authority").Authority)
	if err != nil {
		s.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(content)
	if certificate.Certificate != "" {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.own.pair(certificate)[0], nil
		}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	s.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: withToken{transport, secret}}
}

// withToken adds a token to requests.
type withToken struct {
	http.RoundTripper
	secret string
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.secret != "" {
		r.Header.Set("Authorization", bearer+w.secret)
	}
	return w.RoundTripper.RoundTrip(r)
}

// inPath matches what stands for a value in a path.
var inPath = regexp.MustCompile(`\{\w+\}`)

// problem is an answer that is an error.
type problem struct {
	Type, Title, Detail, Code string
	Status                    int
	Errors                    []struct {
		Field, Detail string
		Line, Column  int
	}
}

// callHTTP makes an empty call of a route and returns what it ends with, as call does.
func callHTTP(t *testing.T, client *http.Client, base string, route web.Route) codes.Code {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), route.Verb,
		base+inPath.ReplaceAllString(route.Path, strings.Repeat("0", 64)), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return codes.Unavailable
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return codes.OK
	}
	var p problem
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Status != response.StatusCode ||
		p.Detail == "" {
		t.Fatalf("%s %s: an error without its problem: %+v, %v", route.Verb, route.Path, p, err)
	}
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(`"` + p.Code + `"`)); err != nil {
		t.Fatalf("%s %s: %v", route.Verb, route.Path, err)
	}
	return code
}

// Every call over HTTP, for every role by certificate and by token, and for who has neither or one that is good no
// more: the same as over gRPC.
func TestAccessMatrixOverHTTP(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	listener := listenHTTP(t)
	s := startSecured(t, own, Config{HTTP: listener})
	routes, err := web.Routes()
	if err != nil {
		t.Fatal(err)
	}
	base := "https://" + listener.Addr().String()
	for name, its := range s.matrixCallers(other) {
		client := s.httpClient(its.certificate, its.secret)
		for _, route := range routes {
			its.check(t, name, methodsByName[route.Method], callHTTP(t, client, base, route))
		}
	}
}

// What people call is served over HTTP, and what only workers and nodes use is not. A new method has to be in one of
// the two.
func TestWhatIsServedOverHTTP(t *testing.T) {
	routes, err := web.Routes()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, route := range routes {
		served[route.Method] = true
		if methodsByName[route.Method].may == 0 {
			t.Errorf("%s has a path, but nobody may call it", route.Method)
		}
		changes := route.Verb != http.MethodGet
		if readOnly := methodsByName[route.Method].may.has(trellisv1.Role_ROLE_VIEWER); changes == readOnly &&
			!slices.Contains(readingChanges, route.Method) {
			t.Errorf("%s %s: may a viewer: %v", route.Verb, route.Path, readOnly)
		}
	}
	without := []string{
		trellisv1.DataSetService_GetDataSet_FullMethodName, trellisv1.DataSetService_DownloadDataFile_FullMethodName,
		trellisv1.WorkerService_Session_FullMethodName, trellisv1.ClusterService_Restore_FullMethodName,
	}
	for _, one := range methods {
		ours := strings.HasPrefix(one.name, "/trellis.")
		if want := ours && !slices.Contains(without, one.name); served[one.name] != want {
			t.Errorf("%s is served over HTTP: %v", one.name, served[one.name])
		}
	}
}

// readingChanges are calls whose verb and roles don't go together: what submitters and admins read, and what changes
// nothing but has a body.
var readingChanges = []string{
	trellisv1.StudyService_PlanStudy_FullMethodName, trellisv1.StudyService_FormatSpec_FullMethodName,
	trellisv1.ArtifactService_HasArtifact_FullMethodName,
	trellisv1.AccessService_ListTokens_FullMethodName, trellisv1.ClusterService_Backup_FullMethodName,
	trellisv1.HookService_ListHooks_FullMethodName, trellisv1.HookService_ListDeliveries_FullMethodName,
}

// No path reaches what has none: neither by gRPC's own names, nor by HTTP's ways of saying another method.
func TestNoOtherWayIn(t *testing.T) {
	own := newAuthority(t)
	listener := listenHTTP(t)
	s := startSecured(t, own, Config{HTTP: listener})
	s.admin()
	admin := s.httpClient(own.issue(trellisv1.Role_ROLE_ADMIN, "ann"), "")
	base := "https://" + listener.Addr().String()
	send := func(verb, path, contentType string, header ...string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), verb, base+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		response, err := admin.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}
	for _, method := range methods {
		for _, contentType := range []string{
			"application/grpc", "application/grpc-web", "application/json", "application/proto",
		} {
			if got := send(http.MethodPost, method.name, contentType); got != http.StatusMethodNotAllowed {
				t.Errorf("POST %s as %s: %d", method.name, contentType, got)
			}
			if got := send(http.MethodPost, "/api/v1"+method.name, contentType); got != http.StatusNotFound {
				t.Errorf("POST /api/v1%s as %s: %d", method.name, contentType, got)
			}
		}
	}
	// A form is what a page of another site can send.
	if got := send(http.MethodPost, "/api/v1/studies/x", "application/x-www-form-urlencoded", "X-HTTP-Method-Override",
		"DELETE"); got != http.StatusMethodNotAllowed {
		t.Errorf("a POST that says it is a DELETE: %d", got)
	}
	got := send(http.MethodPost, "/api/v1/models", "application/x-www-form-urlencoded")
	if got != http.StatusMethodNotAllowed {
		t.Errorf("a POST where there is a GET: %d", got)
	}
	for _, key := range []string{"Trellis-Caller-Role", "Grpc-Metadata-Trellis-Caller-Role"} {
		got := send(http.MethodPost, "/api/v1/studies:plan", "application/json", key, "admin")
		if got != http.StatusBadRequest {
			t.Errorf("a header that nodes send, %s, became one of the call: %d", key, got)
		}
	}
}

// A viewer changes nothing: not through a leader, nor through a follower, by whatever path.
func TestViewersChangeNothingOverHTTP(t *testing.T) {
	own := newAuthority(t)
	leader := startSecured(t, own, Config{Data: t.TempDir()})
	admin := leader.admin()
	listener := listenHTTP(t)
	follower := startSecured(t, own, Config{Data: t.TempDir(), Join: []string{leader.address}, HTTP: listener})
	follower.admin()
	base := "https://" + listener.Addr().String()

	_, changing := leader.newToken(admin, trellisv1.Role_ROLE_SUBMITTER, "sam", time.Hour)
	_, viewing := leader.newToken(admin, trellisv1.Role_ROLE_VIEWER, "vic", time.Hour)
	submitter, viewer := follower.httpClient(access.Files{}, changing), follower.httpClient(access.Files{}, viewing)
	spec, err := protojson.Marshal(&trellisv1.CreateStudyRequest{Spec: syntheticSpec("seen", []uint32{4}, []uint32{2})})
	if err != nil {
		t.Fatal(err)
	}
	// The follower knows neither token yet, and reads its own writes at once.
	if got, text := send(t, submitter, http.MethodPost, base+"/api/v1/studies", string(spec)); got != http.StatusOK {
		t.Fatalf("a submitter through a follower: %d %s", got, text)
	}
	before, text := send(t, viewer, http.MethodGet, base+"/api/v1/studies/seen", "")
	if before != http.StatusOK {
		t.Fatalf("a viewer through a follower: %d %s", before, text)
	}
	routes, err := web.Routes()
	if err != nil {
		t.Fatal(err)
	}
	try := func() {
		t.Helper()
		for _, route := range routes {
			path := strings.NewReplacer("{study}", "seen", "{id}", "x", "{node}", leader.address).Replace(route.Path)
			body := "{}"
			if route.Verb == http.MethodGet || route.Method == trellisv1.StudyService_FormatSpec_FullMethodName {
				continue // It only reads.
			}
			got, answer := send(t, viewer, route.Verb, base+inPath.ReplaceAllString(path, "x"), body)
			if got != http.StatusForbidden {
				t.Errorf("%s %s by a viewer: %d %s", route.Verb, path, got, answer)
			}
		}
	}
	// The log may also have that a node, which a machine that stalls has cut off, has asked again to be added.
	ofANodeSince := func(index uint64) bool {
		t.Helper()
		listed, err := trellisv1.NewAccessServiceClient(admin).ListEvents(t.Context(), &trellisv1.ListEventsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(listed.GetEvents(), func(event *trellisv1.Event) bool {
			return event.GetIndex() > index && event.GetPrincipal().GetRole() == trellisv1.Role_ROLE_NODE
		})
	}
	for tries := 1; ; tries++ {
		log := leader.machine.applied.get()
		try()
		now := leader.machine.applied.get()
		if now == log {
			break
		}
		if tries == 5 || !ofANodeSince(log) {
			t.Errorf("the log had %d entries, and has %d", log, now)
			break
		}
	}
	if _, now := send(t, viewer, http.MethodGet, base+"/api/v1/studies/seen", ""); now != text {
		t.Errorf("the study was %s and is %s", text, now)
	}
	if got, text := send(t, submitter, http.MethodDelete, base+"/api/v1/studies/seen", ""); got != http.StatusOK {
		t.Errorf("its submitter deletes it: %d %s", got, text)
	}
	if got, _ := send(t, viewer, http.MethodGet, base+"/api/v1/studies/seen", ""); got != http.StatusNotFound {
		t.Errorf("a deleted study: %d", got)
	}
}

// send makes a request and returns the status and the body of its answer.
func send(t *testing.T, client *http.Client, verb, address, body string) (httpStatus int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), verb, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Who speaks plainly where there is TLS is told so in HTTP. A stranger's connection ends.
func TestPlainHTTPWhereThereIsTLS(t *testing.T) {
	listener := listenHTTP(t)
	startSecured(t, newAuthority(t), Config{HTTP: listener}).admin()
	got, text := send(t, http.DefaultClient, http.MethodGet, "http://"+listener.Addr().String()+"/api", "")
	if got != http.StatusBadRequest || !strings.Contains(text, "https://") {
		t.Errorf("%d %s", got, text)
	}
	http.DefaultClient.CloseIdleConnections()
}

// Headers beyond the limit are refused, and the refusal arrives whole although the server has not read all that was
// sent.
func TestLongHeadersOverHTTP(t *testing.T) {
	t.Parallel()
	listener := listenHTTP(t)
	startSecured(t, nil, Config{HTTP: listener})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	path := "/api/v1/studies/" + strings.Repeat("x", 100<<10)
	if got, text := send(t, client, http.MethodGet, "http://"+listener.Addr().String()+path, ""); got !=
		http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d %s", got, text)
	}
}

// A wrong filter or order is named among the errors, as a wrong field of a spec is.
func TestWrongFiltersOverHTTP(t *testing.T) {
	t.Parallel()
	listener := listenHTTP(t)
	startSecured(t, nil, Config{HTTP: listener})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	base := "http://" + listener.Addr().String() + "/api/v1/studies"
	spec, err := protojson.Marshal(&trellisv1.CreateStudyRequest{Spec: syntheticSpec("seen", []uint32{4}, []uint32{2})})
	if err != nil {
		t.Fatal(err)
	}
	if got, text := send(t, client, http.MethodPost, base, string(spec)); got != http.StatusOK {
		t.Fatalf("%d %s", got, text)
	}
	for query, want := range map[string]string{
		"filter=latentdim+%3D%3D+4":       `unknown field "latentdim": did you mean "latent_dim"?`,
		"filter=state+%3D%3D+%27faild%27": `unknown state "faild": did you mean "failed"?`,
		"order_by=latentdim":              `unknown field "latentdim": did you mean "latent_dim"?`,
	} {
		field, _, _ := strings.Cut(query, "=")
		got, text := send(t, client, http.MethodGet, base+"/seen/trials?"+query, "")
		var p problem
		if err := json.Unmarshal([]byte(text), &p); err != nil || got != http.StatusBadRequest || len(p.Errors) != 1 ||
			p.Errors[0].Field != field || p.Errors[0].Detail != want || p.Detail != field+": "+want {
			t.Errorf("%s: %d %s", query, got, text)
		}
	}
}

// Calls over HTTP count with those over gRPC: a caller has one share of each limit. Beyond it, clients are told when
// to come back.
func TestLimitsOverHTTP(t *testing.T) {
	own := newAuthority(t)
	listener := listenHTTP(t)
	s := startSecured(t, own, Config{Data: t.TempDir(), HTTP: listener, Limits: Limits{Calls: 10, CallsEach: 2}})
	admin := s.admin()
	_, secret := s.newToken(admin, trellisv1.Role_ROLE_SUBMITTER, "sam", time.Hour)
	sam := s.httpClient(access.Files{}, secret)
	base := "https://" + listener.Addr().String()
	spec, err := protojson.Marshal(&trellisv1.CreateStudyRequest{Spec: syntheticSpec("seen", []uint32{4}, []uint32{2})})
	if err != nil {
		t.Fatal(err)
	}
	if got, text := send(t, sam, http.MethodPost, base+"/api/v1/studies", string(spec)); got != http.StatusOK {
		t.Fatalf("%d %s", got, text)
	}
	// One watch over gRPC and one over HTTP.
	watch, err := trellisv1.NewStudyServiceClient(s.caller(access.Files{}, secret)).WatchStudy(t.Context(),
		&trellisv1.WatchStudyRequest{Study: "seen"})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/v1/studies/seen:watch",
		http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	open, err := sam.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Body.Close()
	response, err := sam.Get(base + "/api/v1/studies")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" {
		t.Errorf("a third call: %d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
	open.Body.Close()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got, _ := send(t, sam, http.MethodGet, base+"/api/v1/studies", ""); got == http.StatusOK {
			break
		} else if time.Since(began) > time.Minute {
			t.Fatalf("a call when the watch has ended: %d", got)
		}
	}
}

// A revoked token ends its streams over HTTP, too.
func TestRevokedTokensOverHTTP(t *testing.T) {
	own := newAuthority(t)
	listener := listenHTTP(t)
	s := startSecured(t, own, Config{Data: t.TempDir(), HTTP: listener})
	admin := s.admin()
	id, secret := s.newToken(admin, trellisv1.Role_ROLE_SUBMITTER, "sam", time.Hour)
	sam := s.httpClient(access.Files{}, secret)
	base := "https://" + listener.Addr().String()
	spec, err := protojson.Marshal(&trellisv1.CreateStudyRequest{Spec: syntheticSpec("seen", []uint32{4}, []uint32{2})})
	if err != nil {
		t.Fatal(err)
	}
	if got, text := send(t, sam, http.MethodPost, base+"/api/v1/studies", string(spec)); got != http.StatusOK {
		t.Fatalf("%d %s", got, text)
	}
	open, err := sam.Get(base + "/api/v1/studies/seen:watch")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Body.Close()
	if _, err := trellisv1.NewAccessServiceClient(admin).RevokeToken(t.Context(),
		&trellisv1.RevokeTokenRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(open.Body)
	if err != nil || !strings.Contains(string(text), "event: problem\n") ||
		!strings.Contains(string(text), `"status":401`) {
		t.Errorf("%v after %s", err, text)
	}
}

// Who may not make a call learns nothing about its request, and waits for no body.
func TestStrangersOverHTTP(t *testing.T) {
	own := newAuthority(t)
	listener := listenHTTP(t)
	s := startSecured(t, own, Config{HTTP: listener})
	s.admin()
	base := "https://" + listener.Addr().String()
	nobody := s.httpClient(access.Files{}, "")
	viewer := s.httpClient(own.issue(trellisv1.Role_ROLE_VIEWER, "vic"), "")
	for _, one := range [][2]string{
		{http.MethodGet, "/api/v1/studies/x/trials?page_sise=3"},
		{http.MethodPost, "/api/v1/studies/x:pause?a=b"},
		{http.MethodPost, "/api/v1/studies"},
		{http.MethodGet, "/api/v1/studies/x:watch?a=b"},
	} {
		if got, text := send(t, nobody, one[0], base+one[1], "no JSON"); got != http.StatusUnauthorized {
			t.Errorf("%s %s by nobody: %d %s", one[0], one[1], got, text)
		}
		got, text := send(t, viewer, one[0], base+one[1], "no JSON")
		if want := map[string]int{http.MethodGet: 400, http.MethodPost: 403}[one[0]]; got != want {
			t.Errorf("%s %s by a viewer: %d %s", one[0], one[1], got, text)
		}
	}
	// The answer comes although the body never does.
	body, never := io.Pipe()
	defer never.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/studies", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	began := time.Now()
	response, err := nobody.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	// A body may take 30 s.
	if took := time.Since(began); response.StatusCode != http.StatusUnauthorized || took > 25*time.Second {
		t.Errorf("a stranger's body that never comes: %d after %v", response.StatusCode, took)
	}
}
