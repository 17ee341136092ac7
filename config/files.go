package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const maxSecretFile = 1 << 20

// SecretFiles returns a ReadFile for [Providers] that only reads regular files of at most 1 MiB below the roots, which
// are directories, by absolute paths without "..", and never kernel files below /proc, /sys and /dev. A symbolic link that
// leads out of the root is refused. It never blocks on a FIFO. Errors say nothing of a file's content. Without roots it
// reads nothing.
func SecretFiles(roots ...string) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if !filepath.IsAbs(path) {
			return nil, errors.New("the path is not absolute")
		}
		if slices.Contains(strings.Split(path, "/"), "..") {
			return nil, errors.New("the path contains ..")
		}
		path = filepath.Clean(path)
		f, err := openSecret(path, roots)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readSecret(f)
	}
}

func openSecret(path string, roots []string) (*os.File, error) {
	root, below := "", path
	for _, r := range roots {
		rel, err := filepath.Rel(filepath.Clean(r), path)
		if err == nil && filepath.IsLocal(rel) {
			root, below = r, rel
			break
		}
	}
	if root == "" {
		return nil, fmt.Errorf("it is not below the directories from which secrets are read (%s): name its directory by --secrets-dir",
			strings.Join(roots, ", "))
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	for _, dir := range [...]string{"/proc", "/sys", "/dev"} {
		if real == dir || strings.HasPrefix(real, dir+"/") {
			return nil, fmt.Errorf("files below %s are not read", dir)
		}
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.OpenFile(below, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}

func readSecret(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxSecretFile:
		return nil, errors.New("it is larger than 1 MiB")
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSecretFile {
		return nil, errors.New("it is larger than 1 MiB")
	}
	return content, nil
}
