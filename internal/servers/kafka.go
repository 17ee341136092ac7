package servers

import (
	"context"
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const kafkaVersion = "4.3.0"

//go:embed kafka
var kafkaSources embed.FS

// kafkaHome is where the jars of Kafka are kept.
func kafkaHome() (string, error) {
	cache, err := Cache()
	return filepath.Join(cache, "kafka-"+kafkaVersion), err
}

// InstallKafkaTools fetches the jars of Kafka from Maven Central, if they are not there. It needs mvn.
func InstallKafkaTools(ctx context.Context, progress io.Writer) error {
	home, err := kafkaHome()
	if err != nil {
		return err
	}
	if _, err := os.Stat(home); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(filepath.Dir(home), "install.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	fmt.Fprintf(progress, "kafka: fetching Kafka %s from Maven Central\n", kafkaVersion)
	work, err := os.MkdirTemp(filepath.Dir(home), "kafka-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, kafkaSources); err != nil {
		return err
	}
	err = tool(ctx, work, "mvn", "-q", "-B", "-f", "kafka/pom.xml", mvnCopy, "-Dkafka.version="+kafkaVersion,
		"-DoutputDirectory="+filepath.Join(work, "libs"), "-DincludeScope=runtime")
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	return os.Rename(work, home)
}

// KafkaDump runs Kafka's own kafka-dump-log on segment files, the names of which must be their base offsets, and returns what
// it prints. Bad batches do not make it fail: its output says so. Without a JDK, or without Kafka's jars, the test is skipped
// with a message that starts with "not run: ".
func KafkaDump(t testing.TB, files ...string) string {
	t.Helper()
	java, err := jdk("java")
	if err != nil {
		t.Skipf("not run: no kafka-dump-log: %v", err)
	}
	home, err := kafkaHome()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(home); err != nil {
		t.Skipf("not run: no kafka-dump-log: Kafka %s is not installed (scripts/servers install brings it)", kafkaVersion)
	}
	cmd := exec.CommandContext(t.Context(), java, "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR", "-cp", filepath.Join(home, "libs", "*"),
		"org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--print-data-log", "--files", strings.Join(files, ","))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kafka-dump-log: %v: %s", err, out)
	}
	return string(out)
}
