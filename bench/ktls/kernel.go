package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// metaPackage is the package of Debian that needs the current kernel: the small one for virtual machines.
const metaPackage = "linux-image-cloud-amd64"

// wantedModules are what kernel TLS needs; what they need is found. The ciphers are asked for by name, so modules do not tell.
var wantedModules = []string{
	"tls", "gcm", "ctr", "ghash_generic", "aesni_intel", "ghash_clmulni_intel",
	"chacha20poly1305", "chacha_generic", "poly1305_generic", "chacha_x86_64", "poly1305_x86_64",
}

// kernel is what the machine boots.
type kernel struct {
	image   string
	modules []string // files, in the order in which they are loaded
}

// needQemu installs qemu where that is allowed.
func needQemu() error {
	const program, pkg = "qemu-system-x86_64", "qemu-system-x86"
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	if os.Geteuid() != 0 || !hasAptGet() {
		return fmt.Errorf("%w: %s is not installed, and cannot be (not root, or no apt-get)", errSkip, program)
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", pkg}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: apt-get %s: %v\n%s", errSkip, args[0], err, out)
		}
	}
	return nil
}

func hasAptGet() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil
}

// fetchKernel returns the kernel of a package, or the current one of Debian's, which is kept in the user's cache.
func fetchKernel(deb string) (k kernel, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return k, err
	}
	name := strings.TrimSuffix(filepath.Base(deb), ".deb")
	if deb == "" {
		if name, err = currentKernel(); err != nil {
			return k, err
		}
	}
	dir := filepath.Join(cache, "millrace", "ktls", name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := unpackKernel(dir, name, deb); err != nil {
			return k, err
		}
	}
	return findKernel(dir)
}

// currentKernel asks apt-cache which package metaPackage stands for.
func currentKernel() (string, error) {
	out, err := exec.Command("apt-cache", "depends", "--important", metaPackage).Output()
	if err != nil {
		return "", fmt.Errorf("%w: no kernel: apt-cache: %v", errSkip, err)
	}
	_, rest, ok := strings.Cut(string(out), "Depends: ")
	if !ok {
		return "", fmt.Errorf("%w: no kernel: apt-cache does not know %s", errSkip, metaPackage)
	}
	return strings.Fields(rest)[0], nil
}

// unpackKernel unpacks the package deb to dir, and downloads it before if it is "".
func unpackKernel(dir, name, deb string) error {
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(part)
	if deb == "" {
		cmd := exec.Command("apt-get", "download", name)
		cmd.Dir = part
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: apt-get download %s: %v\n%s", errSkip, name, err, out)
		}
		found, err := filepath.Glob(filepath.Join(part, "*.deb"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("apt-get download %s has left %d packages", name, len(found))
		}
		deb = found[0]
	}
	if out, err := exec.Command("dpkg-deb", "-x", deb, filepath.Join(part, "tree")).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb: %v\n%s", err, out)
	}
	return os.Rename(filepath.Join(part, "tree"), dir)
}

// findKernel finds the image and the modules in an unpacked package.
func findKernel(dir string) (k kernel, err error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return k, fmt.Errorf("%s has %d kernels", dir, len(images))
	}
	k.image = images[0]
	files := map[string]string{} // by the name of the module
	err = filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return k, err
	}
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		file, ok := files[name]
		if seen[name] || !ok { // without a file it is built in
			return nil
		}
		seen[name] = true
		needs, err := moduleNeeds(file)
		for _, n := range needs {
			err = errors.Join(err, add(n))
		}
		k.modules = append(k.modules, file)
		return err
	}
	for _, name := range wantedModules {
		err = errors.Join(err, add(name))
	}
	if !seen["tls"] {
		err = errors.Join(err, fmt.Errorf("%s has no module tls", dir))
	}
	return k, err
}

// moduleNeeds returns the modules that a module says it needs.
func moduleNeeds(file string) (needs []string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s: no .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for line := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(line, []byte("depends=")); ok && len(list) > 0 {
			for _, name := range strings.Split(string(list), ",") {
				needs = append(needs, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return needs, nil
}
