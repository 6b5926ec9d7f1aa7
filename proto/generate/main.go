// Generate writes the source of buf/validate/validate.proto, which our .proto files import. It makes it from the
// descriptor in the protovalidate Go module, so that buf need not fetch it from its registry. Its one argument is the
// folder to write under.
package main

import (
	"log"
	"os"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/desc"
	"github.com/jhump/protoreflect/desc/protoprint"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: generate FOLDER")
	}
	file, err := desc.WrapFile(validate.File_buf_validate_validate_proto)
	if err != nil {
		log.Fatalf("read the descriptor of validate.proto: %v", err)
	}
	printer := protoprint.Printer{}
	if err := printer.PrintProtosToFileSystem([]*desc.FileDescriptor{file}, os.Args[1]); err != nil {
		log.Fatalf("write validate.proto: %v", err)
	}
}
