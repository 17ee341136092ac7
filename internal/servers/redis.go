package servers

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// redis7 is Redis 7 from Debian, in memory only.
func redis7() kind {
	return kind{
		name:     "redis",
		variable: "TAILRACE_TEST_REDIS",
		packages: []string{"redis-server"},
		missing: func() error {
			if _, err := exec.LookPath("redis-server"); err != nil {
				return fmt.Errorf("Redis is not installed: %w", err)
			}
			return nil
		},
		command: redisCommand,
		url:     func(s *Server) string { return s.Addr },
		ready:   redisReady,
		stop:    syscall.SIGTERM,
		kill:    syscall.SIGKILL,
	}
}

// redisCommand is the command line: settings for tests, then the caller's.
func redisCommand(s *Server) []string {
	settings := map[string]string{
		"bind":       "127.0.0.1",
		"save":       "",
		"appendonly": "no",
		"dir":        s.Dir,
		"daemonize":  "no",
	}
	maps.Copy(settings, s.settings)
	argv := []string{"redis-server", "--port", fmt.Sprint(s.Port)}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		argv = append(argv, "--"+k, settings[k])
	}
	return argv
}

// redisReady sends a PING. A refusal for want of a password is an answer, too.
func redisReady(ctx context.Context, s *Server) error {
	c, err := dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if line = strings.TrimSpace(line); line != "+PONG" && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("redis answers %q", line)
	}
	return nil
}
