// Openapi writes the OpenAPI 3.1 description of the API over HTTP: of every call that has a path. Its arguments are a
// file with the descriptors of our .proto files and their comments, which buf build writes, and the file to write.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// services is the file that has our services.
const services = "trellis/v1/service.proto"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: openapi DESCRIPTORS FILE")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return fmt.Errorf("read the descriptors in %s: %w", from, err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return fmt.Errorf("read the descriptors in %s: %w", from, err)
	}
	file, err := files.FindFileByPath(services)
	if err != nil {
		return err
	}
	d, err := describe(file)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(d); err != nil {
		return err
	}
	return os.WriteFile(to, text.Bytes(), 0o644)
}
