// Command conformance runs the conformance suite of the Connect project (connectrpc.com/conformance, which bench/peers
// builds) through millrace: its client, millrace with HTTP/1.1 and HTTP/2 on both sides, its server.
//
//	go run ./bench/conformance                 every suite
//	go run ./bench/conformance -run grpc-web   some
//
// The suite starts servers under test by itself and asks them over standard input and output where they listen. This
// command is that server: with -serve it starts the suite's own server, puts millrace in front and answers with the port of
// millrace. In the cases with TLS millrace has the
// certificate that the suite made, and asks clients for theirs where the suite says so.
package main
