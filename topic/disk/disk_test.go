package disk_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/topictest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, opt disk.Options) *disk.Log {
	t.Helper()
	l, err := disk.Open(t.Context(), opt)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func TestContract(t *testing.T) {
	t.Run("default", func(t *testing.T) {
		topictest.Run(t, func(t *testing.T) topic.Log { return open(t, disk.Options{Dir: t.TempDir()}) })
	})
	t.Run("tiny_files", func(t *testing.T) {
		topictest.Run(t, func(t *testing.T) topic.Log {
			return open(t, disk.Options{Dir: t.TempDir(), SegmentBytes: 2000, JournalBytes: 3000, MaxOpenFiles: 2})
		})
	})
}
