package disk_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// TestFullDisk: appends wait while the disk is full and go on by themselves when there is space, and whoever gives up
// waiting knows that nothing was written.
func TestFullDisk(t *testing.T) {
	t.Run("case77_append_waits_and_resumes", func(t *testing.T) { synctest.Test(t, fullAppends) })
	t.Run("case77_retention_makes_room", func(t *testing.T) { synctest.Test(t, fullOfOld) })
	t.Run("case77_any_write_of_any_file", func(t *testing.T) { synctest.Test(t, fullAnywhere) })
}

func fullAppends(t *testing.T) {
	fs := newFS()
	l := memLog(t, fs, disk.Options{JournalBytes: 4000, SegmentBytes: 2000})
	fs.SetCapacity(40_000)
	const total = 2000
	var n atomic.Int64
	done := make(chan error, 1)
	go func() {
		for i := range total {
			if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
				done <- err
				return
			}
			n.Add(1)
		}
		done <- nil
	}()
	synctest.Wait()
	stuck := n.Load()
	<-time.After(time.Minute)
	synctest.Wait()
	if u := l.Usage(); n.Load() != stuck || stuck == total || u.State != topic.SpaceFull || u.Waiting != 1 {
		t.Fatalf("%d appends, then %d, on a full disk: %+v", stuck, n.Load(), u)
	}
	wantNumbers(t, l, int(stuck))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := l.Append(ctx, []topic.Record{numbered(-1)})
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, context.DeadlineExceeded) || fault.IsPermanent(err) {
		t.Fatalf("append that gives up on a full disk: %v", err)
	}
	fs.SetCapacity(0)
	if err := <-done; err != nil {
		t.Fatalf("append when there is space again: %v", err)
	}
	if u := l.Usage(); u.State != topic.SpaceOK || u.Waiting != 0 {
		t.Fatalf("%+v", u)
	}
	wantNumbers(t, l, total)
	fs2 := fs.Crash(rand.New(rand.NewPCG(3, 3)))
	_ = l.Close() // of a machine that has no power
	l = memLog(t, fs2, disk.Options{})
	wantNumbers(t, l, total)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// fullOfOld fills a disk with records most of which retention may remove: nobody has to help.
func fullOfOld(t *testing.T) {
	fs := newFS()
	var out said
	l := memLog(t, fs, disk.Options{JournalBytes: 1 << 20, SegmentBytes: 2000, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err := l.Configure(t.Context(), "a", map[string]string{"cleanup.policy": "delete", "retention.bytes": "5000", "retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(30_000)
	for i := range 3000 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		err := l.Append(ctx, []topic.Record{numbered(i), numbered(i)})
		cancel()
		if err != nil {
			t.Fatalf("append %d: %v\n%s", i, err, out.b.String())
		}
	}
	if out.count("no space left; appends wait") == 0 {
		t.Fatal("the disk was never full")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func fullAnywhere(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		w := newWorld(rnd.Uint64())
		w.opt.FS = w.fs
		l, err := disk.Open(t.Context(), w.opt)
		if err != nil {
			t.Fatal(err)
		}
		w.log = l
		for range 150 {
			w.fs.SetCapacity(0)
			if rnd.IntN(3) == 0 {
				w.fs.SetCapacity(w.fs.Used() + rnd.Int64N(2000))
			}
			a := w.act()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			err := a.do(ctx)
			cancel()
			switch {
			case err == nil:
				a.done()
			case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, context.DeadlineExceeded) || fault.IsPermanent(err):
				t.Fatalf("on a full disk: %v", err)
			}
		}
		w.fs.SetCapacity(0)
		if err := w.model.check(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
