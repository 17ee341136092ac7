package deploy

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
)

const root = "../.."

// service is a service of docker-compose.yml, as far as the test needs it.
type service struct {
	Image       string
	Command     []string
	User        string
	ReadOnly    bool `yaml:"read_only"`
	Environment map[string]string
	Ports       []string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
}

// compose is docker-compose.yml.
type compose struct {
	Services map[string]service
	Configs  map[string]struct{ Content string }
	Volumes  map[string]any
}

func load(t *testing.T) compose {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var c compose
	if err := yaml.Unmarshal([]byte(substitute(string(b))), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) != 4 {
		t.Fatalf("%d services, want 4", len(c.Services))
	}
	return c
}

// variable is an interpolation of Docker Compose: ${NAME:-default}.
var variable = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

// substitute replaces interpolations as if no variable were set.
func substitute(s string) string { return variable.ReplaceAllString(s, "$1") }

func TestComposeFileIsValid(t *testing.T) {
	argv, err := servers.Compose()
	if err != nil {
		t.Skipf("not run: no docker-compose: %v", err)
	}
	cmd := exec.Command(argv[0], append(argv[1:], "-f", "docker-compose.yml", "config", "-q")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("docker-compose config -q: %v\n%s", err, out)
	}
}

func TestServicesAreConfined(t *testing.T) {
	c := load(t)
	tr := c.Services["tailrace"]
	if user, _, _ := strings.Cut(tr.User, ":"); user == "" || user == "0" || user == "root" {
		t.Errorf("tailrace runs as %q", tr.User)
	}
	if !tr.ReadOnly {
		t.Error("the root file system of tailrace is writable")
	}
	for name, s := range c.Services {
		if len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		if name != "tailrace" && tr.DependsOn[name].Condition != "service_healthy" {
			t.Errorf("tailrace does not wait for a healthy %s", name)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to others", name, p)
			}
		}
		named := slices.ContainsFunc(s.Volumes, func(v string) bool {
			volume, _, _ := strings.Cut(v, ":")
			_, ok := c.Volumes[volume]
			return ok
		})
		if !named {
			t.Errorf("%s keeps its data in no named volume", name)
		}
		if name != "tailrace" && !regexp.MustCompile(`:\d+\.\d+`).MatchString(s.Image) {
			t.Errorf("%s: image %q names no version", name, s.Image)
		}
	}
}

// instruction returns the arguments of a Dockerfile's last instruction of a kind, which are a JSON array.
func instruction(t *testing.T, file []byte, kind string) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^`+kind+` .*?(\[.*\])$`).FindAllSubmatch(file, -1)
	var list []string
	if len(m) == 0 || json.Unmarshal(m[len(m)-1][1], &list) != nil {
		t.Fatalf("the Dockerfile has no %s with a JSON array", kind)
	}
	return list
}

// mounted maps the paths of a service's containers to this machine's: named volumes to fresh directories, the others to the
// repository's files.
func mounted(t *testing.T, s service) map[string]string {
	t.Helper()
	paths := map[string]string{}
	for _, v := range s.Volumes {
		parts := strings.Split(v, ":")
		if strings.HasPrefix(parts[0], "./") {
			paths[parts[1]] = filepath.Join(root, parts[0])
			if len(parts) != 3 || parts[2] != "ro" {
				t.Errorf("%s is mounted writable", v)
			}
			continue
		}
		paths[parts[1]] = filepath.Join(t.TempDir(), "volume")
	}
	return paths
}

func TestDockerfileAgreesWithCompose(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	tr := load(t).Services["tailrace"]
	if got := instruction(t, file, "CMD"); !slices.Equal(got[:len(got)-1], tr.Command[:len(tr.Command)-1]) {
		t.Errorf("CMD %q, but compose runs %q", got, tr.Command)
	}
	health := regexp.MustCompile(`(?m)^HEALTHCHECK .* CMD (\[.*\])$`).FindSubmatch(file)
	var check []string
	if health == nil || json.Unmarshal(health[1], &check) != nil || !slices.Equal(check, tr.Healthcheck.Test[1:]) {
		t.Errorf("HEALTHCHECK %q, but compose has %q", check, tr.Healthcheck.Test)
	}
	if entry := instruction(t, file, "ENTRYPOINT"); entry[0] != check[0] {
		t.Errorf("ENTRYPOINT %q is not the binary of the health check %q", entry, check[0])
	}
	for _, line := range []string{"USER " + tr.User, "FROM scratch", `VOLUME ["/data"]`, "EXPOSE 8083"} {
		if !bytes.Contains(file, []byte("\n"+line+"\n")) {
			t.Errorf("no line %q", line)
		}
	}
	version := regexp.MustCompile(`FROM golang:(\d+\.\d+)`).FindSubmatch(file)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || version == nil || !bytes.Contains(mod, append([]byte("\ngo "), version[1]...)) {
		t.Errorf("the image's Go %q is not go.mod's, %v", version, err)
	}
}

// stack is the servers of the compose file as private ones.
type stack struct {
	postgres, redis, elastic *servers.Server
}

// start starts the servers with the settings that the compose file gives on their command lines.
func start(t *testing.T, c compose) stack {
	settings := map[string]string{}
	for _, arg := range c.Services["postgres"].Command {
		if k, v, ok := strings.Cut(arg, "="); ok {
			settings[k] = v
		}
	}
	redis := map[string]string{}
	args := c.Services["redis"].Command[1:]
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] != "--dir" {
			redis[strings.TrimPrefix(args[i], "--")] = args[i+1]
		}
	}
	return stack{servers.Private(t, "postgres15", settings), servers.Private(t, "redis", redis), servers.Private(t, "elasticsearch8", nil)}
}

// local replaces what the containers know each other by with where the private servers are.
func (s stack) local(text string) string {
	for name, server := range map[string]*servers.Server{"postgres:5432": s.postgres, "redis:6379": s.redis, "elasticsearch:9200": s.elastic} {
		text = strings.ReplaceAll(text, name, server.Addr)
	}
	return text
}

// initialize runs the statements that the image runs when its volume is empty.
func (s stack) initialize(t *testing.T, c compose) {
	t.Helper()
	env := c.Services["postgres"].Environment
	if err := compare.Exec(t.Context(), s.postgres.URL, "CREATE DATABASE "+env["POSTGRES_DB"]); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range c.Configs {
		for statement := range strings.SplitSeq(cfg.Content, ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if err := compare.Exec(t.Context(), s.url(env["POSTGRES_DB"]), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
}

func (s stack) url(database string) string {
	return "postgres://postgres@" + s.postgres.Addr + "/" + database
}

// health runs a health check of the compose file on this machine: replace gives what stands here for a program or an address
// of the container.
func health(t *testing.T, test []string, replace map[string]string, env ...string) error {
	t.Helper()
	test = slices.Clone(test)
	for i := range test {
		for there, here := range replace {
			test[i] = strings.ReplaceAll(test[i], there, here)
		}
	}
	var cmd *exec.Cmd
	switch test[0] {
	case "CMD":
		cmd = exec.Command(test[1], test[2:]...)
	case "CMD-SHELL":
		cmd = exec.Command("sh", "-c", test[1])
	default:
		t.Fatalf("health check %q", test)
	}
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w: %s", test, err, out)
	}
	return nil
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// healthy runs the health checks of the servers.
func (s stack) healthy(t *testing.T, c compose) {
	t.Helper()
	postgres, elastic := c.Services["postgres"].Healthcheck.Test, c.Services["elasticsearch"].Healthcheck.Test
	// redis-cli takes its port from no variable.
	redis := slices.Insert(slices.Clone(c.Services["redis"].Healthcheck.Test), 2, "-p", portOf(s.redis.Addr))
	for _, err := range []error{
		health(t, postgres, map[string]string{"pg_isready": "/usr/lib/postgresql/15/bin/pg_isready"}, "PGPORT="+portOf(s.postgres.Addr)),
		health(t, elastic, map[string]string{"127.0.0.1:9200": s.elastic.Addr}),
		health(t, redis, nil),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestStack runs what docker-compose.yml describes.
func TestStack(t *testing.T) {
	c := load(t)
	s := start(t, c)
	s.initialize(t, c)
	s.healthy(t, c)
	d, env := prepare(t, c, s)
	checkDaemon := func() error {
		return health(t, c.Services["tailrace"].Healthcheck.Test, map[string]string{"/usr/local/bin/tailrace": d.Bin}, append(env, "TAILRACE_URL="+d.URL())...)
	}
	if err := checkDaemon(); err == nil {
		t.Error("the health check passes without a daemon")
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.Until(ctx, func() (bool, error) { return checkDaemon() == nil, nil }); err != nil {
		t.Fatalf("the daemon does not become healthy: %v", err)
	}
	if err := compare.Exec(ctx, s.url("shop"), "UPDATE customers SET name = 'Zoë' WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	s.compare(ctx, t, d)
}

// prepare builds the daemon and gives it the command and the environment of the compose file.
func prepare(t *testing.T, c compose, s stack) (*daemon.Daemon, []string) {
	t.Helper()
	bin, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	static(t, bin)
	listen, err := daemon.Port()
	if err != nil {
		t.Fatal(err)
	}
	tr := c.Services["tailrace"]
	d := &daemon.Daemon{Bin: bin, Listen: listen, Log: filepath.Join(t.TempDir(), "log")}
	paths := mounted(t, tr)
	exposed := false
	for _, arg := range tr.Command {
		for in, here := range paths {
			if arg == in {
				arg, paths[in] = here, ""
			}
		}
		if _, port, err := net.SplitHostPort(arg); err == nil {
			exposed = slices.Contains(tr.Ports, "127.0.0.1:"+port+":"+port)
			arg = listen
		}
		d.Args = append(d.Args, arg)
	}
	for in, rest := range paths {
		if rest != "" {
			t.Errorf("nothing uses the volume %s", in)
		}
	}
	if !exposed {
		t.Errorf("the port in %q is not published by %q", tr.Command, tr.Ports)
	}
	for k, v := range tr.Environment {
		switch k { // a host and a port of their own
		case "SHOP_HOST":
			v = "127.0.0.1"
		case "SHOP_PORT":
			v = portOf(s.local(tr.Environment["SHOP_HOST"] + ":" + v))
		default:
			v = s.local(v)
		}
		d.Env = append(d.Env, k+"="+v)
	}
	d.User = url.UserPassword(tr.Environment["TAILRACE_REST_USER"], tr.Environment["TAILRACE_REST_PASSWORD"])
	return d, d.Env
}

// static fails if the binary needs a dynamic linker: the image has none.
func static(t *testing.T, bin string) {
	t.Helper()
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is not static")
		}
	}
}

// compare waits until the last change is in all sinks, and compares them with the source.
func (s stack) compare(ctx context.Context, t *testing.T, d *daemon.Daemon) {
	t.Helper()
	if err := d.Drained(ctx, "shop.public.customers", "Zoë"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, s.url("shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tables, err := compare.Tables(ctx, conn, "public")
	if err != nil {
		t.Fatal(err)
	}
	sides := []compare.Side{compare.NewPostgres("source", s.url("shop"), nil)}
	sides = append(sides, daemon.Sides(d, "shop", daemon.Targets{Elasticsearch: s.elastic.URL, Redis: s.redis.Addr, Copy: s.url("copy")})...)
	results, err := compare.Run(ctx, tables, sides)
	if err != nil {
		t.Fatal(err)
	}
	for i := range results {
		if r := &results[i]; !r.Equal() || r.Sums[0].Rows == 0 {
			var text strings.Builder
			compare.Explain(ctx, &text, results, sides)
			t.Errorf("%s, %d rows: the sides differ\n%s", r.Table, r.Sums[0].Rows, text.String())
		}
	}
}
