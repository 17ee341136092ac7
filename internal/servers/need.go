package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Need returns the address of the server called name from its environment variable (see [Variable]). Where that is not
// set, the test is skipped with a message that starts with "not run: ". An unknown name fails the test.
func Need(t testing.TB, name string) string {
	t.Helper()
	v := Variable(name)
	if v == "" {
		t.Fatalf("servers.Need: no server is called %q; there are %q", name, Names())
	}
	addr := os.Getenv(v)
	if addr == "" {
		t.Skipf("not run: no %s: %s is not set (eval \"$(scripts/servers up)\" sets it)", name, v)
	}
	return addr
}

// Private starts a server for this test alone, with settings besides or instead of those for tests, and stops it when the
// test ends. Where the server is not installed the test is skipped with a message that starts with "not run: ".
func Private(t testing.TB, name string, settings map[string]string) *Server {
	t.Helper()
	if _, err := find(name); err != nil {
		t.Fatalf("servers.Private: %v", err)
	}
	if err := Missing(name); err != nil {
		t.Skipf("not run: no %s: %v (scripts/servers install brings it)", name, err)
	}
	s, err := Start(t.Context(), name, Options{Settings: settings})
	if err != nil {
		t.Fatalf("servers.Private: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
	})
	return s
}

// Root returns the directory under which running servers keep their files, and makes it. It is readable for everybody,
// because some servers run as another user, and its path is short, because it holds unix sockets.
func Root() (string, error) {
	root := filepath.Join(os.TempDir(), "tailrace-servers-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	fi, err := os.Lstat(root)
	if err != nil {
		return "", err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.IsDir() || !ok || int(st.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s is not a directory of this user: remove it", root)
	}
	return root, os.Chmod(root, 0o755)
}

// Cache returns the directory that downloads are kept in: tailrace-servers under $XDG_CACHE_HOME, or under ~/.cache.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "tailrace-servers"), nil
}
