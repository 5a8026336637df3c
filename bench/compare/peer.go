package compare

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Site is where and how a peer is to run.
type Site struct {
	Dir        string // for its config, pid and temporary files
	Port       int    // downstream, on 127.0.0.1
	AdminPort  int    // of millrace's admin listener
	OriginPort int    // upstream, on 127.0.0.1
	Loops      int    // loops, worker processes or threads
	Routes     int    // routes that no request takes, spread over virtual hosts; 0 for one plain route
	Generation int    // changes one of those routes, so that a reload has something to do
	Traffic    Traffic
	H2         bool // downstream speaks HTTP/2 with prior knowledge
	OriginH2   bool // so does upstream
	TLS        bool // downstream is TLS, with what WriteCertificate has left in Dir
}

// versionWait is how long a binary may take to tell its version.
const versionWait = 5 * time.Second

// routesPerHost is how many of Site.Routes one virtual host gets.
const routesPerHost = 100

// A Peer is one proxy under measurement.
type Peer struct {
	Name       string
	Package    string              // the Debian package that has it, or "" when it is built from this repository
	Binary     string              // looked up in PATH unless it has a slash
	Version    []string            // the arguments that print a version
	ConfigFile string              // its name in Site.Dir, or "" when arguments are all it takes
	Config     func(s Site) string // the text of the config
	Args       func(s Site, cf string) []string
}

// Builtin lists the peers in the order of a round. The floor's binary is compiled when the benchmark starts.
// nginx-stock and haproxy-auto have the buffers and the splicing that they ship with, where that matters; nginx-256k is
// for TCP and UDP alone.
func Builtin(millrace, floor string) []Peer {
	return []Peer{
		{
			Name: "millrace", Binary: millrace, Version: []string{"version"}, ConfigFile: "millrace.json", Config: millraceConfig,
			Args: func(_ Site, cf string) []string { return []string{"run", "-c", cf} },
		},
		{
			Name: "nginx", Package: "nginx-light", Binary: "nginx", Version: []string{"-v"}, ConfigFile: "nginx.conf", Config: nginxConfig,
			Args: func(s Site, cf string) []string { return []string{"-p", s.Dir, "-c", cf} },
		},
		{
			Name: "nginx-stock", Package: "nginx-light", Binary: "nginx", ConfigFile: "nginx.conf", Config: nginxStockConfig,
			Args: func(s Site, cf string) []string { return []string{"-p", s.Dir, "-c", cf} },
		},
		{
			Name: "nginx-256k", Package: "nginx-light", Binary: "nginx", ConfigFile: "nginx.conf", Config: nginxLargeConfig,
			Args: func(s Site, cf string) []string { return []string{"-p", s.Dir, "-c", cf} },
		},
		{
			Name: "haproxy", Package: "haproxy", Binary: "haproxy", Version: []string{"-v"}, ConfigFile: "haproxy.cfg", Config: haproxyConfig,
			Args: func(_ Site, cf string) []string { return []string{"-db", "-f", cf} },
		},
		{
			Name: "haproxy-auto", Package: "haproxy", Binary: "haproxy", ConfigFile: "haproxy.cfg", Config: haproxyAutoConfig,
			Args: func(_ Site, cf string) []string { return []string{"-db", "-f", cf} },
		},
		{
			Name: "floor", Binary: floor,
			Args: floorArgs,
		},
	}
}

func floorArgs(s Site, _ string) []string {
	args := []string{fmt.Sprint(s.Port), fmt.Sprint(s.OriginPort)}
	if s.Traffic == UDP {
		args = append(args, "udp")
	}
	return args
}

// Path finds the binary of p.
func (p Peer) Path() (string, error) {
	if strings.Contains(p.Binary, "/") {
		abs, err := filepath.Abs(p.Binary)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(abs); err != nil {
			return "", fmt.Errorf("%s: %w", p.Name, err)
		}
		return abs, nil
	}
	// nginx and HAProxy live in a folder that the PATH of an ordinary user may lack.
	if path, err := exec.LookPath(p.Binary); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + p.Binary)
}

// VersionLine asks the binary for its version.
func (p Peer) VersionLine() string {
	path, err := p.Path()
	if err != nil || p.Version == nil {
		return p.Name
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, p.Version...).CombinedOutput() // nginx prints to stderr
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return p.Name + ", version unknown"
	}
	return line
}

// Write puts the config of p into s.Dir and returns the command line that runs it.
func (p Peer) Write(s Site) ([]string, error) {
	path, err := p.Path()
	if err != nil {
		return nil, err
	}
	cf := filepath.Join(s.Dir, p.ConfigFile)
	if p.Config != nil {
		if err := replaceFile(cf, p.Config(s)); err != nil {
			return nil, fmt.Errorf("writing the config of %s: %w", p.Name, err)
		}
	}
	return append([]string{path}, p.Args(s, cf)...), nil
}

// replaceFile writes a file whole or not at all: a reload must never see half of it.
func replaceFile(name, text string) error {
	if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
