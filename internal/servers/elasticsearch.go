package servers

import (
	"archive/zip"
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	esVersion = "8.19.21"
	mvnCopy   = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
)

//go:embed elasticsearch
var esSources embed.FS

// elasticsearch8 is a real Elasticsearch node, assembled from the jars of Maven Central and run by a small launcher. It has no
// scripts, no reindex and no security.
func elasticsearch8() kind {
	return kind{
		name:     "elasticsearch8",
		variable: "TAILRACE_TEST_ELASTICSEARCH8",
		packages: []string{"openjdk-17-jdk-headless", "maven"},
		missing: func() error {
			if _, err := jdk("java"); err != nil {
				return err
			}
			home, err := esHome()
			if err != nil {
				return err
			}
			if _, err := os.Stat(home); err != nil {
				return fmt.Errorf("Elasticsearch %s is not installed: %w", esVersion, err)
			}
			return nil
		},
		fetch:   esFetch,
		prepare: esPrepare,
		command: esCommand,
		url:     func(s *Server) string { return "http://" + s.Addr },
		ready:   esReady,
		stop:    syscall.SIGTERM,
		kill:    syscall.SIGKILL,
	}
}

// esHome is where the assembled node is kept.
func esHome() (string, error) {
	cache, err := Cache()
	return filepath.Join(cache, "elasticsearch-"+esVersion), err
}

// jdk returns the path of a Java tool, from Debian's JDK 17 when it is there.
func jdk(tool string) (string, error) {
	found, err := filepath.Glob("/usr/lib/jvm/java-17-openjdk-*/bin/" + tool)
	if err == nil && len(found) > 0 {
		return found[0], nil
	}
	path, err := exec.LookPath(tool)
	if err != nil {
		return "", fmt.Errorf("JDK 17 is not installed: %w", err)
	}
	return path, nil
}

// esFetch assembles the node beside its place and moves it there when it is whole.
func esFetch(ctx context.Context, progress io.Writer) error {
	home, err := esHome()
	if err != nil {
		return err
	}
	if _, err := os.Stat(home); err == nil {
		return nil
	}
	fmt.Fprintf(progress, "elasticsearch8: fetching Elasticsearch %s from Maven Central\n", esVersion)
	work, err := os.MkdirTemp(filepath.Dir(home), "elasticsearch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, esSources); err != nil {
		return err
	}
	lib, module := filepath.Join(work, "lib"), filepath.Join(work, "modules", "transport-netty4")
	err = tool(ctx, work, "mvn", "-q", "-B", "-f", "elasticsearch/pom.xml", mvnCopy, "-Delasticsearch.version="+esVersion,
		"-DoutputDirectory="+lib, "-DincludeScope=runtime")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(module, 0o755); err != nil {
		return err
	}
	for _, pattern := range []string{"netty-*.jar", "transport-netty4-*.jar"} {
		jars, err := filepath.Glob(filepath.Join(lib, pattern))
		if err != nil {
			return err
		}
		for _, jar := range jars {
			if err := os.Rename(jar, filepath.Join(module, filepath.Base(jar))); err != nil {
				return err
			}
		}
	}
	if err := esDescriptor(module); err != nil {
		return err
	}
	if err := esCompile(ctx, work); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	return os.Rename(work, home)
}

// esDescriptor takes the module's descriptor out of its jar, without the name of a Java module: the launcher loads all
// from the class path.
func esDescriptor(module string) error {
	jar, err := zip.OpenReader(filepath.Join(module, "transport-netty4-"+esVersion+".jar"))
	if err != nil {
		return err
	}
	defer jar.Close()
	const dir = "META-INF/es-plugins/transport-netty4/"
	for _, f := range jar.File {
		if !strings.HasPrefix(f.Name, dir) || strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return err
		}
		var keep [][]byte
		for line := range bytes.Lines(b) {
			if bytes.HasPrefix(line, []byte("modulename=")) {
				line = []byte("modulename=\n")
			}
			keep = append(keep, line)
		}
		if err := os.WriteFile(filepath.Join(module, filepath.Base(f.Name)), bytes.Join(keep, nil), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// esCompile compiles the launcher, and the module that answers GET /.
func esCompile(ctx context.Context, work string) error {
	javac, err := jdk("javac")
	if err != nil {
		return err
	}
	jar, err := jdk("jar")
	if err != nil {
		return err
	}
	module := filepath.Join(work, "modules", "root")
	if err := os.MkdirAll(module, 0o755); err != nil {
		return err
	}
	descriptor := "description=answers GET /\nversion=" + esVersion + "\nname=root\njava.version=17\nelasticsearch.version=" + esVersion +
		"\nclassname=tailrace.RootModule\n"
	if err := os.WriteFile(filepath.Join(module, "plugin-descriptor.properties"), []byte(descriptor), 0o644); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{javac, "-nowarn", "-proc:none", "-d", "launcher", "-cp", "lib/*", "elasticsearch/Node.java"},
		{javac, "-nowarn", "-proc:none", "-d", "root", "-cp", "lib/*", "elasticsearch/RootModule.java"},
		{jar, "cf", "modules/root/root.jar", "-C", "root", "."},
	} {
		if err := tool(ctx, work, argv...); err != nil {
			return err
		}
	}
	return nil
}

// tool runs a program in dir and gives what it printed when it fails.
func tool(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// esPrepare shows the node its modules.
func esPrepare(_ context.Context, s *Server) error {
	home, err := esHome()
	if err != nil {
		return err
	}
	link := filepath.Join(s.Dir, "modules")
	if _, err := os.Lstat(link); err == nil {
		return nil
	}
	return os.Symlink(filepath.Join(home, "modules"), link)
}

// esCommand is the command line: settings for tests, then the caller's.
func esCommand(s *Server) []string {
	java, _ := jdk("java") // missing has looked
	home, _ := esHome()
	settings := map[string]string{
		"cluster.name":   "tailrace-tests",
		"node.name":      "node",
		"discovery.type": "single-node",
		"network.host":   "127.0.0.1",
		"http.port":      fmt.Sprint(s.Port),
		"transport.port": "0",
		"cluster.routing.allocation.disk.threshold_enabled": "false",
	}
	maps.Copy(settings, s.settings)
	argv := []string{java, "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", filepath.Join(home, "lib", "*") + ":" + filepath.Join(home, "launcher"),
		"Node", s.Dir}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		argv = append(argv, k+"="+settings[k])
	}
	return argv
}

// esReady asks for a cluster that can take writes.
func esReady(ctx context.Context, s *Server) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/_cluster/health?wait_for_status=yellow&timeout=5s", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("cluster health: %s", res.Status)
	}
	return nil
}
