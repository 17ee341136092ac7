// Command tool installs, starts and stops the servers that Tailrace is tested against; scripts/servers runs it.
//
//	install [NAME...]   fetches what is missing
//	up [NAME...]        starts them and prints the variables for tests: eval "$(scripts/servers up)"
//	env                 prints the variables of those that run
//	down                stops them
//	list                prints what is known and what is missing
//
// Without names all servers are meant. -set gives the set another name, so that several can run at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/tailrace/tailrace/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("servers", flag.ExitOnError)
	set := flags.String("set", "default", "name of the set of servers")
	flags.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: scripts/servers [-set NAME] install|up|env|down|list [SERVER...]")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		os.Exit(2)
	}
	names := flags.Args()[1:]
	if len(names) == 0 {
		names = servers.Names()
	}
	switch verb := flags.Arg(0); verb {
	case "install":
		// The race detector needs a C compiler.
		err := servers.Install(ctx, names, map[string]string{"gcc": "build-essential"}, os.Stderr)
		if flags.NArg() == 1 {
			err = errors.Join(err, servers.InstallCompose(ctx), servers.InstallKafkaTools(ctx, os.Stderr))
		}
		return err
	case "up":
		env, err := servers.Up(ctx, *set, names, os.Stderr)
		printEnv(env)
		return err
	case "env":
		env, err := servers.Env(*set)
		printEnv(env)
		return err
	case "down":
		return servers.Down(*set, os.Stderr)
	case "list":
		for _, name := range names {
			state := "ready to start"
			if err := servers.Missing(name); err != nil {
				state = err.Error()
			}
			fmt.Printf("%-16s %-32s %s\n", name, servers.Variable(name), state)
		}
		return nil
	default:
		return fmt.Errorf("unknown command %q: install, up, env, down or list", verb)
	}
}

func printEnv(env map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		fmt.Printf("export %s='%s'\n", k, env[k])
	}
}
