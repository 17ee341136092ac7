package servers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed compose.sh
var composeScript string

// Compose returns the command line that runs Docker Compose, which needs no Docker to check a file: the machine's own, or the
// one that InstallCompose fetched.
func Compose() ([]string, error) {
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}, nil
	}
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cache, "docker-compose")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("docker-compose is not installed: %w", err)
	}
	return []string{path}, nil
}

// InstallCompose fetches docker-compose into the cache, unless this machine has it.
func InstallCompose(ctx context.Context) error {
	if _, err := Compose(); err == nil {
		return nil
	}
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
	path := filepath.Join(cache, "docker-compose")
	part := path + ".part"
	if err := tool(ctx, cache, "sh", "-c", composeScript, "compose.sh", part); err != nil {
		return errors.Join(fmt.Errorf("docker-compose: %w", err), removeIfThere(part))
	}
	return os.Rename(part, path)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
