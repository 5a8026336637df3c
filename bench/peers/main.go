// Command peers installs the servers and clients that end-to-end tests and benchmarks use, where
// that is allowed: with apt-get as root, and with go install into a folder of the user's cache. What cannot be had is
// named, and the tests that need it are skipped with that reason.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A peer is a program, or a file it is known by, and the Debian package it comes in.
type peer struct{ program, pkg string }

// peers are what every run installs.
var peers = []peer{
	{"nginx", "nginx"},
	{"haproxy", "haproxy"},
	{"wrk", "wrk"},
	{"ab", "apache2-utils"},
	{"curl", "curl"},
	{"openssl", "openssl"},
	{"redis-server", "redis-server"},
	{"redis-benchmark", "redis-tools"},
	{"/usr/lib/postgresql/*/bin/pgbench", "postgresql"},
	{"/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"},
	{"dnsmasq", "dnsmasq-base"},
	{"dig", "bind9-dnsutils"},
	{"nft", "nftables"},
	{"nghttp", "nghttp2-client"},
	{"nghttpd", "nghttp2-server"},
	{"/usr/lib/python3/dist-packages/websockets/__init__.py", "python3-websockets"},
	{"sslscan", "sslscan"},
	{"testssl", "testssl.sh"},
	{"hexdump", "bsdextrautils"}, // which testssl.sh wants
}

// browsers are installed only if the argument "chromium" asks for it: they are large.
var browsers = []peer{
	{"chromium", "chromium"},
	{"certutil", "libnss3-tools"},
}

// goPeers are programs in Go, built in a module of their own: what they need is none of this module's business. The
// end-to-end tests look for them in the same folder.
var goPeers = []struct{ program, module, folder string }{
	{"h2spec", "github.com/summerwind/h2spec@v2.2.1+incompatible", "cmd/h2spec"},
	{"grpc-interop-client", "google.golang.org/grpc@v1.85.0", "interop/client"},
	{"grpc-interop-server", "google.golang.org/grpc@v1.85.0", "interop/server"},
	{"connectconformance", "connectrpc.com/conformance@v1.0.7", "cmd/connectconformance"},
	{"connectconformance-referenceserver", "connectrpc.com/conformance@v1.0.7", "cmd/referenceserver"},
	{"connectconformance-grpcserver", "connectrpc.com/conformance@v1.0.7", "cmd/grpcserver"},
}

// goPeerDir is the folder of goPeers.
func goPeerDir() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "millrace", "peers"), err
}

// nodePeer is the package of npm that the tests of WebSockets use.
const nodePeer = "ws@8.23.0"

func main() {
	wanted := peers
	if slices.Contains(os.Args[1:], "chromium") {
		wanted = append(wanted, browsers...)
	}
	installPackages(wanted)
	installGo()
	installNode()
}

// installNode fetches nodePeer into the folder of goPeers.
func installNode() {
	dir, err := goPeerDir()
	if err != nil || have(filepath.Join(dir, "node_modules", "ws", "package.json")) {
		return
	}
	if !have("node") || !have("npm") {
		fmt.Println("peers: SKIP: node and npm are not installed; the tests with ws are skipped")
		return
	}
	cmd := exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", nodePeer)
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Printf("peers: SKIP: npm could not install %s; its tests are skipped: %v\n%s", nodePeer, err, tail(out))
	}
}

// installGo builds what is missing of goPeers.
func installGo() {
	dir, err := goPeerDir()
	if err != nil {
		fmt.Printf("peers: SKIP: no folder for programs in Go: %v\n", err)
		return
	}
	for _, p := range goPeers {
		if have(filepath.Join(dir, p.program)) {
			continue
		}
		if out, err := buildGo(filepath.Join(dir, p.program), p.module, p.folder); err != nil {
			fmt.Printf("peers: SKIP: %s could not be built, its tests are skipped: %v\n%s", p.program, err, tail(out))
		}
	}
}

// buildGo builds one program, in a module that is made for it and thrown away.
func buildGo(file, module, folder string) ([]byte, error) {
	work, err := os.MkdirTemp("", "millrace-peers-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	path, _, _ := strings.Cut(module, "@")
	for _, args := range [][]string{
		{"mod", "init", "peers.invalid"},
		{"get", module},
		{"build", "-o", file, path + "/" + folder},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
		if out, err := cmd.CombinedOutput(); err != nil {
			return out, err
		}
	}
	return nil, nil
}

// installPackages installs what is missing of the wanted ones.
func installPackages(wanted []peer) {
	var missing, packages []string
	for _, p := range wanted {
		if !have(p.program) {
			missing, packages = append(missing, p.program), append(packages, p.pkg)
		}
	}
	if len(missing) == 0 {
		return
	}
	if os.Geteuid() != 0 || !have("apt-get") {
		fmt.Printf("peers: SKIP: cannot install %s (not root, or no apt-get); their tests are skipped\n", strings.Join(missing, ", "))
		return
	}
	install(packages)
	for _, name := range missing {
		if !have(name) {
			fmt.Printf("peers: SKIP: %s could not be installed; its tests are skipped\n", name)
		}
	}
}

// noCluster keeps the package of PostgreSQL from making a database that nobody asked for: tests make their own.
const noCluster = "create_main_cluster = false\n"

// clusterConf is where that package looks for it.
const clusterConf = "/etc/postgresql-common/createcluster.conf"

// install runs apt-get. Services are not started: tests start their own.
func install(packages []string) {
	if _, err := os.Stat(clusterConf); errors.Is(err, fs.ErrNotExist) && slices.Contains(packages, "postgresql") {
		_ = os.MkdirAll(filepath.Dir(clusterConf), 0o755)
		_ = os.WriteFile(clusterConf, []byte(noCluster), 0o644) // without it the installation takes longer, no more
	}
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"}, packages...),
	} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Printf("peers: apt-get %s: %v\n%s", args[0], err, tail(out))
		}
	}
}

// have reports whether a program is there, also where only root looks, or a file whose path is given.
func have(program string) bool {
	if filepath.IsAbs(program) {
		found, err := filepath.Glob(program)
		return err == nil && len(found) > 0
	}
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	_, err := os.Stat("/usr/sbin/" + program)
	return err == nil
}

// tail returns the last lines of out.
func tail(out []byte) []byte {
	const most = 2000
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return out
}
