// Generate writes the sources of buf/validate/validate.proto and google/api/annotations.proto, which our .proto files
// import. It makes them from the descriptors in the Go modules of these, so that buf need not fetch them from its
// registry. Its one argument is the folder to write under.
package main

import (
	"log"
	"os"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/desc"
	"github.com/jhump/protoreflect/desc/protoprint"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: generate FOLDER")
	}
	var files []*desc.FileDescriptor
	for _, imported := range []protoreflect.FileDescriptor{
		validate.File_buf_validate_validate_proto, annotations.File_google_api_annotations_proto,
		annotations.File_google_api_http_proto,
	} {
		file, err := desc.WrapFile(imported)
		if err != nil {
			log.Fatalf("read the descriptor of %s: %v", imported.Path(), err)
		}
		files = append(files, file)
	}
	printer := protoprint.Printer{}
	if err := printer.PrintProtosToFileSystem(files, os.Args[1]); err != nil {
		log.Fatalf("write them: %v", err)
	}
}
