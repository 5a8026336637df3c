// Package grpcjson translates between JSON over HTTP and gRPC messages, as google.api.http annotations say.
//
//	method, path, query ──▶ Set.Match ──▶ Call ──▶ Call.AppendRequest:  JSON ─▶ message
//	                                       Call ──▶ Call.AppendResponse: message ─▶ JSON
//
// It knows messages, not how gRPC frames them, and no HTTP: the filter grpc_json_transcoder does. Nothing is generated:
// types come from a descriptor set, messages are dynamic ones.
//
// # Ownership
//
// A [Set] is made once from a configuration and never changes; loops share it. A [Call] belongs to one request.
//
// # Limits
//
// Nesting of messages in a body and depth of a field path are bounded by depthMax, bytes by the caller.
package grpcjson
