// Package config turns the text of a config file into a typed, checked tree.
//
// It reports every problem of a file in one run, each with its line, column and
// path. It opens no files, binds no sockets and builds nothing from the tree:
// see cmd/internal/server for assembly and cmd/internal/control for snapshots.
//
//	text ─▶ blank ─▶ jsontext ─▶ json-iterator ─▶ checks ─▶ tree
//	          │          │             │             │
//	          └──────────┴── refused ──┴─────────────┘
//	                             ▼
//	                   hujson beside the Go types ─▶ all errors, placed
//
// Accept fast, explain slowly: a good file pays for one pass of each stage on
// the upper line. Only when something failed is the text parsed again into a
// tree with offsets and walked next to the types, to find everything at once.
//
// # Types drive it
//
// The structs of the tree live in the packages that own the features. Their
// tags (json, default, required, min, max, enum, unit, filter, v3) are read
// once into a plan, and the same plan decodes, explains, writes the JSON
// Schema, the reference page and the canonical text that [Hash] reads. So none
// of them can know a field that another does not.
//
// # Limits
//
// A file has at most [MaxBytes] bytes and nests at most [MaxDepth] deep; one
// run reports at most [MaxErrors] problems. Loading a good file takes a few
// times its size in memory; explaining a bad one takes up to sixty times, since
// each value of it becomes a node of a tree.
package config
