// Package codectest tells what a codec makes of bytes as text, so that tests
// can compare it: transcripts, ways to cut input in pieces, corpora and seeds.
//
// It is for tests only. The codecs are given as the contracts of package codec.
package codectest
