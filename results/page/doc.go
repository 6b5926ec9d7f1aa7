// Package page has the web page: its sources (Svelte, TypeScript), and its build, which the binary embeds. The page is a client
// of the API over HTTP like any other. make builds it with Node.js into the folder embedded; where that was not done, a document
// says so in its place.
package page
