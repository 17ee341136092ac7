package servers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed install.sh
var installScript string

// Install fetches what the named servers need and this machine does not have: Debian packages by apt-get, as root or by
// sudo, and jars by Maven. extra maps programs that must be there to the packages that bring them. It goes on after a failure and
// returns all of them, each with the server's name. Two calls at once wait for each other.
func Install(ctx context.Context, names []string, extra map[string]string, progress io.Writer) error {
	cache, err := Cache()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(cache, "install.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	var packages []string
	for program, pkg := range extra {
		if _, err := exec.LookPath(program); err != nil {
			packages = append(packages, pkg)
		}
	}
	var wanted []kind
	for _, name := range names {
		k, err := find(name)
		if err != nil {
			return err
		}
		wanted = append(wanted, k)
		if k.missing() != nil && !installed(ctx, k.packages) {
			packages = append(packages, k.packages...)
		}
	}
	if len(packages) > 0 {
		slices.Sort(packages)
		packages = slices.Compact(packages)
		fmt.Fprintf(progress, "installing %s\n", strings.Join(packages, " "))
		err = aptInstall(ctx, packages, progress)
	}
	errs := []error{err}
	for _, k := range wanted {
		if k.fetch != nil {
			if err := k.fetch(ctx, progress); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", k.name, err))
				continue
			}
		}
		if err := k.missing(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.name, err))
		}
	}
	return errors.Join(errs...)
}

// installed reports whether dpkg has all the packages.
func installed(ctx context.Context, packages []string) bool {
	argv := append([]string{"-W", "-f=${db:Status-Status}\n"}, packages...)
	out, err := exec.CommandContext(ctx, "dpkg-query", argv...).Output()
	return err == nil && strings.Count(string(out), "installed\n") == len(packages) && !strings.Contains(string(out), "not-installed")
}

// aptInstall runs install.sh as root.
func aptInstall(ctx context.Context, packages []string, progress io.Writer) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this is not Debian: install by hand what brings %s", strings.Join(packages, ", "))
	}
	argv := append([]string{"sh", "-c", installScript, "install.sh"}, packages...)
	if os.Getuid() != 0 {
		if _, err := exec.LookPath("sudo"); err != nil {
			return fmt.Errorf("neither root nor sudo: run as root: apt-get install %s", strings.Join(packages, " "))
		}
		argv = append([]string{"sudo"}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, progress, progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get install %s: %w", strings.Join(packages, " "), err)
	}
	return nil
}

// lock takes an exclusive lock on a file, which it makes, and returns the function that gives it back.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
