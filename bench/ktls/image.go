package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// buildImage builds the tests, and writes the image of a file system with them.
func buildImage(image, dir string, k kernel, list []guestTest) error {
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	defer f.Close()
	zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	a := &archive{w: zip}
	for _, d := range []string{"/bin", "/tests", guestModules, "/dev", "/proc", "/sys", "/tmp"} {
		a.folder(d)
	}
	a.built(dir, "/init", "build", "./bench/ktls")
	for i, m := range k.modules {
		a.file(fmt.Sprintf("%s/%02d-%s", guestModules, i, filepath.Base(m)), m)
	}
	a.tests(dir, list)
	a.end()
	if a.err != nil {
		return a.err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return f.Close()
}

// tests adds test binaries, and what tells how to run them.
func (a *archive) tests(dir string, list []guestTest) {
	var runs []guestRun
	binary := false
	built := map[string]bool{}
	for _, t := range list {
		name := "/tests/" + filepath.Base(t.pkg) + ".test"
		if !built[name] {
			a.built(dir, name, "test", "-c", t.pkg)
			built[name] = true
		}
		args := []string{name, "-test.v", "-test.timeout=15m", "-test.run=" + t.run}
		if t.bench != "" {
			args = append(args, "-test.bench="+t.bench)
		}
		r := guestRun{Args: args}
		if t.overTLS {
			r.Env = []string{"MILLRACE_E2E_TLS=1"}
		}
		runs = append(runs, r)
		binary = binary || t.binary
	}
	if binary {
		a.built(dir, guestBinary, "build", "./cmd/millrace")
	}
	text, err := json.Marshal(runs)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.add(guestRuns, modeFile|0o644, text)
}

// archive writes a cpio archive of the kind "newc", which the kernel unpacks: Documentation/driver-api/early-userspace/buffer-format.rst
type archive struct {
	w     io.Writer
	inode int
	err   error
}

const (
	modeFile   = 0o100000
	modeFolder = 0o040000
)

// add adds one file or folder.
func (a *archive) add(name string, mode int, data []byte) {
	if a.err != nil {
		return
	}
	name = name[1:]
	a.inode++
	// magic, inode, mode, uid, gid, links, mtime, size, device of the file, of the node, length of the name with its zero, checksum
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	head += name + "\x00"
	a.write([]byte(head), data)
}

// write writes pieces, each padded to four bytes.
func (a *archive) write(pieces ...[]byte) {
	for _, b := range pieces {
		b = append(b[:len(b):len(b)], make([]byte, -len(b)&3)...)
		if _, err := a.w.Write(b); err != nil && a.err == nil {
			a.err = err
		}
	}
}

func (a *archive) folder(name string) { a.add(name, modeFolder|0o755, nil) }

// file adds a file of this machine.
func (a *archive) file(name, path string) {
	b, err := os.ReadFile(path)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.add(name, modeFile|0o755, b)
}

// built adds what the go command makes of args, without a C library.
func (a *archive) built(dir, name string, args ...string) {
	if a.err != nil {
		return
	}
	out := filepath.Join(dir, "built")
	cmd := exec.Command("go", append([]string{args[0], "-o", out}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		a.err = fmt.Errorf("go %v: %w\n%s", args, err, text)
		return
	}
	a.file(name, out)
}

// end writes the trailer.
func (a *archive) end() { a.add("/TRAILER!!!", 0, nil) }
