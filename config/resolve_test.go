package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testProviders() Providers {
	env := map[string]string{"PGHOST": "db1", "EMPTY": "", "NESTED": "${env:PGHOST}"}
	files := map[string]string{"/s/pg.properties": "user = app\npassword=a\\u00e9\\:b\\\n   c=d\n# x\nkey\\ with\\ space:v\n", "/s/token": "t0ken\n\n", "/s/bad": "a=\\u12"}
	return Providers{
		Env: func(n string) (string, bool) { v, ok := env[n]; return v, ok },
		ReadFile: func(p string) ([]byte, error) {
			if text, ok := files[p]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("no such file")
		},
	}
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"plain $1 $$ ${routedByValue} ${x:y} $", "plain $1 $$ ${routedByValue} ${x:y} $"},
		{"${env:PGHOST}", "db1"},
		{"a${env:PGHOST}b${env:PGHOST}$", "adb1bdb1$"},
		{"${env:EMPTY}", ""},
		{"${env:NONE:-db}:5432", "db:5432"},
		{"${env:EMPTY:-db}", "db"},
		{"${env:PGHOST:-db}", "db1"},
		{"${env:NONE:-}", ""},
		{"${env:NONE:-a:b-c}", "a:b-c"},
		{"${env:PGHOST:?is needed}", "db1"},
		{"${env:NESTED}", "${env:PGHOST}"},
		{"$${env:PGHOST}", "${env:PGHOST}"},
		{"$$${env:PGHOST}", "$${env:PGHOST}"},
		{"$${routedByValue}", "$${routedByValue}"},
		{"${file:/s/pg.properties:user}", "app"},
		{"${file:/s/pg.properties:password}", "aé:bc=d"},
		{"${file:/s/pg.properties:key with space}", "v"},
		{"${file:/s/token}", "t0ken"},
		{"${dir:/s:token}${directory:/s/:token}", "t0kent0ken"},
	} {
		out, problems := Resolve(map[string]string{"k": tt.in}, testProviders())
		if len(problems) != 0 || out["k"] != tt.want {
			t.Errorf("%s: got %q and %v, want %q", tt.in, out["k"], problems, tt.want)
		}
	}
}

func TestResolveProblems(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"${env:NONE}", "environment variable NONE is not set"},
		{"${env:EMPTY:?set the host}", "environment variable EMPTY is not set: set the host"},
		{"${env:}", `"" is not a name`},
		{"${env:A B}", "is not a name"},
		{"${env:A:+x}", "only -default or ?message"},
		{"${env:NONE:-${env:PGHOST}}", "can't contain a placeholder"},
		{"${env:PGHOST", "no closing brace"},
		{"${file:/s/none:x}", "file /s/none: no such file"},
		{"${file:/s/pg.properties:none}", "has no property none"},
		{"${file:/s/bad:a}", "line 1 has a malformed"},
		{"${dir:/s}", "lacks the file's name"},
		{"${dir:/s:../x}", "is not the name of a file"},
		{"${dir:/s:..}", "is not the name of a file"},
	} {
		out, problems := Resolve(map[string]string{"k": tt.in, "ok": "${env:PGHOST}"}, testProviders())
		if len(problems) != 1 || problems[0].Key != "k" || !strings.Contains(problems[0].Message, tt.want) {
			t.Errorf("%s: got %v, want %q", tt.in, problems, tt.want)
		}
		if out["k"] != tt.in || out["ok"] != "db1" {
			t.Errorf("%s: got %v", tt.in, out)
		}
	}
	if _, problems := Resolve(map[string]string{"a": "${env:A}", "b": "${file:/x}"}, Providers{}); len(problems) != 2 {
		t.Errorf("without providers: %v", problems)
	}
}

func TestSecretFiles(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "secrets")
	const secret = "s3cret-content"
	write := func(path string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(secret+strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(root+"/pw", 0)
	write(root+"/..2024/inner", 0)
	write(root+"/large", 1<<20)
	write(base+"/outside", 0)
	must(os.Symlink("..2024", root+"/..data")) // as Kubernetes mounts secrets
	must(os.Symlink("..data/inner", root+"/inner"))
	must(os.Symlink("../outside", root+"/escape"))
	must(os.Symlink(base, root+"/up"))
	must(os.Symlink("/proc/self/environ", root+"/environ"))
	must(syscall.Mkfifo(root+"/fifo", 0o600))

	type test struct {
		name, path string
		want       string // "" for success
	}
	for _, tt := range []test{
		{"plain", root + "/pw", ""},
		{"link_inside", root + "/inner", ""},
		{"case96/dot_dot", root + "/../outside", "contains .."},
		{"case96/outside", base + "/outside", "not below"},
		{"case96/prefix_is_no_root", root + "x/pw", "not below"},
		{"case96/symlink", root + "/escape", "escapes"},
		{"case96/symlinked_directory", root + "/up/outside", "escapes"},
		{"case96/proc", "/proc/self/environ", "not below"},
		{"case96/proc_by_symlink", root + "/environ", "below /proc are not read"},
		{"case96/device", "/dev/zero", "not below"},
		{"case96/fifo", root + "/fifo", "not a regular file"},
		{"case96/directory", root, "not a regular file"},
		{"case96/large", root + "/large", "larger than 1 MiB"},
		{"case96/relative", "secrets/pw", "not absolute"},
		{"case96/missing", root + "/none", "no such file"},
		{"case96/environ_of_another", "/proc/1/environ", "not below"},
		{"case96/passwd", "/etc/passwd", "--secrets-dir"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				content, err := SecretFiles(base+"/other", root)(tt.path)
				if err == nil && string(content) != secret {
					err = errors.New("wrong content")
				}
				done <- err
			}()
			select {
			case err := <-done:
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error shows the content: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("it blocks")
			}
		})
	}
	if _, err := SecretFiles()(root + "/pw"); err == nil {
		t.Error("without roots a file is read")
	}
}

func TestRedact(t *testing.T) {
	in := map[string]string{
		"database.password": "hunter2", "declared": "hunter2", "redis.pasword": "hunter2", "es.api.key": "hunter2", "empty.password": "",
		"ref.password": "${env:PW}", "default.password": "${env:PW:-hunter2}", "mixed.password": "${env:PW}hunter2", "escaped.password": "$${env:hunter2}",
		"open.password": "${env:hunter2",
		"url":           "postgres://app:hunter2@db/shop?x=1", "urls": "http://a:hunter2@x,http://b:hunter2@y", "ref.url": "http://a:${env:PW}@x",
		"topic": "shop.tokens", "message.key.columns": "public.t:id", "database.hostname": "db", "bare.url": "http://es:9200/a@b",
	}
	want := map[string]string{
		"database.password": Hidden, "declared": Hidden, "redis.pasword": Hidden, "es.api.key": Hidden, "empty.password": "",
		"ref.password": "${env:PW}", "default.password": "${env:PW:-[hidden]}", "mixed.password": Hidden, "escaped.password": Hidden,
		"open.password": Hidden,
		"url":           "postgres://app:[hidden]@db/shop?x=1", "urls": "http://a:[hidden]@x,http://b:[hidden]@y", "ref.url": "http://a:${env:PW}@x",
		"topic": "shop.tokens", "message.key.columns": "public.t:id", "database.hostname": "db", "bare.url": "http://es:9200/a@b",
	}
	got := Redact(in, []Key{{Name: "declared", Type: "PASSWORD"}, {Name: "topic"}})
	for k := range in {
		if got[k] != want[k] {
			t.Errorf("%s: got %q, want %q", k, got[k], want[k])
		}
	}
}

func TestHasPlaceholder(t *testing.T) {
	for text, want := range map[string]bool{"${env:A}": true, "x${file:/a:b}": true, "${dir:/a": true, "$${env:A}": false, "$${env:A}${env:B}": true, "${A}": false, "": false} {
		if HasPlaceholder(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestUnknown(t *testing.T) {
	props := map[string]string{"name": "", "connector.class": "", "transforms.a.type": "", "producer.override.acks": "", "snapshot.mode": "",
		"column.mask.with.10.chars": "", "column.mask.with..chars": "", "column.mask.with.chars": "", "snapshot.mod": "", "zzz": "", "topcs": ""}
	got := map[string]string{}
	for _, p := range Unknown(props, testKeys(), "column.mask.with.*.chars") {
		got[p.Key] = p.Message
	}
	want := map[string]string{"column.mask.with..chars": "unknown property", "column.mask.with.chars": "unknown property",
		"snapshot.mod": "unknown property: did you mean snapshot.mode?", "zzz": "unknown property", "topcs": "unknown property: did you mean topics?"}
	for k := range props {
		if got[k] != want[k] {
			t.Errorf("%s: got %q, want %q", k, got[k], want[k])
		}
	}
}

func TestMatchFamily(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.*", "a.b", true}, {"a.*", "a.", false}, {"a.*", "b.a.", false}, {"a", "a", true}, {"a", "ab", false},
		{"h.*.with.salt.*", "h.SHA-256.with.salt.x", true}, {"h.*.with.salt.*", "h..with.salt.x", false},
		{"h.*.with.salt.*", "h.x.with.salt.", false}, {"*.c", "ab.c", true}, {"*.c", ".c", false},
	} {
		if matchFamily(tt.pattern, tt.name) != tt.want {
			t.Errorf("%s, %s: %v", tt.pattern, tt.name, !tt.want)
		}
	}
}

// No text, however broken, makes Resolve or Redact panic or show what they must not.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"$${env:A}", "${env:A:-b}", "${file:/s/pg.properties:user}", "${dir:/s:token}", "${env:", "$$${env:PGHOST}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, problems := Resolve(map[string]string{"password": text}, testProviders())
		if !HasPlaceholder(text) && len(problems) != 0 {
			t.Errorf("%q: %v", text, problems)
		}
		if strings.ReplaceAll(text, "$${", "${") == text && !HasPlaceholder(text) && out["password"] != text {
			t.Errorf("%q became %q", text, out["password"])
		}
		shown := Redact(map[string]string{"password": text}, nil)["password"]
		if !HasPlaceholder(text) && text != "" && shown != Hidden {
			t.Errorf("%q is shown as %q", text, shown)
		}
	})
}
