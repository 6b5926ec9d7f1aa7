package command

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trellis/command/exit"
	"trellis/command/fake"
)

// startReceiver runs the receiver of docs/hooks.md. lines has what it prints.
func startReceiver(t *testing.T, secret, port string) (lines <-chan string) {
	t.Helper()
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```python\n")
	program, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("docs/hooks.md has no receiver")
	}
	ctx, cancel := context.WithCancel(context.Background())
	receiver := exec.CommandContext(ctx, "python3", "-c", program, secret, port)
	receiver.Stderr = os.Stderr
	output, err := receiver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	printed, ended := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			printed <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = receiver.Wait()
	})
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return printed
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal(err)
		}
	}
}

func nextLine(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(time.Minute):
		t.Fatal("the receiver was told of nothing within a minute")
		return ""
	}
}

// The receiver of docs/hooks.md is told of a study that ends while nobody receives, although the coordinator is killed
// before it can deliver that, and it refuses what is not signed.
func TestWebHooks(t *testing.T) {
	t.Parallel()
	receiver := fake.FreeAddress(t)
	url := "http://" + receiver
	_, port, _ := net.SplitHostPort(receiver)
	data, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	coordinator, address := startCoordinator(t, "--data", data)
	at := []string{"--coordinator", address}
	hooks := func(args ...string) string {
		return mustTrellis(t, append(append([]string{"hooks"}, args...), at...)...)
	}
	hooks("create", "h", "--url", url, "--events", "study.ended", "--file", secret)
	if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v, %v", info, err)
	}
	if _, stderr, code := trellis(t, append([]string{"hooks", "test", "h"}, at...)...); code != exit.Error ||
		!strings.Contains(stderr, "did not accept the event: ") || !strings.Contains(stderr, "connection refused") {
		t.Errorf("without a receiver, a test ends with %d: %s", code, stderr)
	}
	mustTrellis(t, append([]string{"submit", writeSpec(t, longStudy)}, at...)...)
	mustTrellis(t, append([]string{"cancel", "long"}, at...)...)
	coordinator.signal(t, syscall.SIGKILL)
	start(t, `^Studies are in \S+ \(existing\)\.$`, "coordinator", "--listen", address, "--data", data)

	lines := startReceiver(t, secret, port)
	if line := nextLine(t, lines); line != "study.ended long STUDY_STATE_CANCELED" {
		t.Errorf("the receiver was told %q", line)
	}
	if text := hooks("test", "h"); !strings.HasPrefix(text, "The receiver of h accepted the event: 204 No Content") {
		t.Errorf("a test: %s", text)
	}
	if line := nextLine(t, lines); line != "hook.test" {
		t.Errorf("the receiver was told %q", line)
	}
	forged, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"id":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	forged.Header.Set("Webhook-Id", "1")
	forged.Header.Set("Webhook-Timestamp", "1")
	forged.Header.Set("Webhook-Signature", "v1,AAAA")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(forged)
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a forged event: %s", response.Status)
	}
	for began := time.Now(); !strings.Contains(hooks("deliveries", "h"), "delivered"); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("recorded is\n%s", hooks("deliveries", "h"))
		}
	}
	key, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	if text := hooks("list", "-o", "json") + coordinator.said(); strings.Contains(text, strings.TrimSpace(string(key))) {
		t.Errorf("the secret is shown: %s", text)
	}
	// A secret that one has.
	if _, stderr, code := trellis(t, append([]string{"hooks", "create", "h", "--url", url, "--secret-file", secret},
		at...)...); code != exit.AlreadyExists {
		t.Errorf("another of the name: %d, %s", code, stderr)
	}
	hooks("delete", "h")
	hooks("create", "h", "--url", url, "--secret-file", secret)
	hooks("test", "h")
	if line := nextLine(t, lines); line != "hook.test" {
		t.Errorf("the receiver was told %q", line)
	}
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := trellis(t, append([]string{"hooks", "create", "i", "--url", url, "--secret-file", secret},
		at...)...); code != exit.Usage || !strings.Contains(stderr, "others can read") {
		t.Errorf("a secret that others can read: %d, %s", code, stderr)
	}
}
