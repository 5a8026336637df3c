//go:build !race

package l4

const udpRaceBuild = false
