// Package source reads YAML that people write, and says where in it something is wrong.
//
// The lines and columns of its errors are those that an editor shows. That takes some care: what YAML 1.1 calls a line
// break, what our YAML libraries count, and what a person sees are three things, unless the text is put in one form first.
package source
