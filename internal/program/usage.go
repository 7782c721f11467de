package program

import (
	"flag"
	"fmt"
	"strings"
)

// usage returns the text about the program as a whole.
func (p Program) usage(all []Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", p.Name, p.About)
	width := 0
	for _, c := range all {
		width = max(width, len(c.Name)+1+len(c.Args))
	}
	for _, c := range all {
		fmt.Fprintf(&b, "  %s %-*s  %s\n", p.Name, width, strings.TrimSpace(c.Name+" "+c.Args), c.About)
	}
	fmt.Fprintf(&b, "\n%s COMMAND --help tells a command's flags.\n", p.Name)
	return b.String()
}

// commandUsage returns the text about one command and its flags.
func (p Program) commandUsage(c Command, flags *flag.FlagSet) string {
	var b strings.Builder
	line := strings.TrimSpace(p.Name + " " + c.Name + " " + c.Args)
	fmt.Fprintf(&b, "usage: %s [flags]\n%s\n", line, c.About)
	flags.VisitAll(func(f *flag.Flag) {
		value, about := flag.UnquoteUsage(f)
		head := "--" + f.Name
		if value != "" {
			head += " " + strings.ToUpper(value)
		}
		fmt.Fprintf(&b, "  %-24s %s", head, about)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			fmt.Fprintf(&b, " (default %s)", f.DefValue)
		}
		b.WriteByte('\n')
	})
	return b.String()
}
