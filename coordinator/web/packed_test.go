package web

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// A large answer is packed once as long as it says the same. Whoever can't read that gets the same answer unpacked.
func TestPackedAnswers(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		const path = "/api/v1/studies/x"
		get := func(wanted string) string {
			t.Helper()
			response := h.request("GET", path, "", "Accept-Encoding", "gzip")
			defer response.Body.Close()
			unpacked, err := gzip.NewReader(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(unpacked)
			if err != nil || string(body) != wanted || response.Header.Get("Content-Type") != jsonType ||
				response.Header.Get("Vary") == "" {
				t.Errorf("%v, %v: %.60q, not %.60q", err, response.Header, body, wanted)
			}
			return response.Header.Get("Etag")
		}
		kept := func(want int) {
			t.Helper()
			if got := h.server.packed.kept.Len(); got != want {
				t.Errorf("%d answers are kept, not %d", got, want)
			}
		}
		h.study = &trellisv1.Study{Name: strings.Repeat("x", packFrom), ModifyIndex: 1}
		plain := h.request("GET", path, "")
		first, _ := io.ReadAll(plain.Body)
		plain.Body.Close()
		kept(0)
		tag := get(string(first))
		if tag != plain.Header.Get("Etag") {
			t.Errorf("packed it has the tag %q, otherwise %q", tag, plain.Header.Get("Etag"))
		}
		kept(1)
		// The next one is the one that is kept.
		for _, key := range h.server.packed.kept.Keys() {
			h.server.packed.kept.Add(key, packedAnswer{tag, pack([]byte("kept"))})
		}
		get("kept")
		if got, text := h.send("GET", path, "", "Accept-Encoding", "gzip", "If-None-Match", tag); got != 304 || text != "" {
			t.Errorf("with the tag: %d %q", got, text)
		}
		h.study = &trellisv1.Study{Name: strings.Repeat("x", packFrom), ModifyIndex: 2}
		if changed := get(strings.Replace(string(first), `"modify_index":"1"`, `"modify_index":"2"`, 1)); changed == tag {
			t.Error("after a change, it has the tag of before")
		}
		kept(2)
		for i := range 2 * mostPacked {
			h.study = &trellisv1.Study{Name: strings.Repeat("x", packFrom), ModifyIndex: uint64(i)}
			h.send("GET", path, "", "Accept-Encoding", "gzip")
		}
		kept(mostPacked)
		// Whoever has it already is told so without packing it: the next one who has not gets it packed.
		h.server.packed.kept.Purge()
		h.study = &trellisv1.Study{Name: strings.Repeat("x", packFrom), ModifyIndex: 1}
		if got, text := h.send("GET", path, "", "Accept-Encoding", "gzip", "If-None-Match", tag); got != 304 || text != "" {
			t.Errorf("with the tag, and nothing kept: %d %q", got, text)
		}
		for _, key := range h.server.packed.kept.Keys() {
			if its, _ := h.server.packed.kept.Get(key); its.(packedAnswer).body != nil {
				t.Error("it was packed for one who has it")
			}
		}
		get(string(first))
		// A small one is not worth it.
		h.server.packed.kept.Purge()
		h.study = &trellisv1.Study{Name: strings.Repeat("x", 2*compressFrom)}
		h.send("GET", path, "", "Accept-Encoding", "gzip")
		kept(0)
	})
}
