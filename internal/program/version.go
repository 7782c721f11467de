package program

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// stamp is the version, written by the linker (-X dongthanh/internal/program.stamp=v1.2.3) and by
// nothing else; hence a variable.
var stamp string

// Version returns the version of this executable: what make build stamped, or what the Go command
// recorded, or "devel".
func Version() string {
	if stamp != "" {
		return stamp
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// versionCommand prints the version, the Go release and the platform.
func (p Program) versionCommand() Command {
	return Command{Name: "version", About: "print the version", Setup: func(*flag.FlagSet) Action {
		return func(_ context.Context, std IO, _ []string) error {
			_, err := fmt.Fprintf(std.Out, "%s %s %s %s/%s\n", p.Name, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}
	}}
}
