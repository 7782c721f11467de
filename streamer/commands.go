package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"dongthanh/internal/config"
	"dongthanh/internal/identity"
	"dongthanh/internal/logging"
	"dongthanh/internal/program"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/store"
)

// by names whoever uses the command line, in records.
const by = "cli"

// withStore makes an Action that opens the database of the configuration. The server may be running beside it.
func withStore(flags *flag.FlagSet, act func(ctx context.Context, std program.IO, cfg Config, st *store.Store, args []string) error) program.Action {
	path := flags.String("config", "", "the streamer's configuration `file`")
	return func(ctx context.Context, std program.IO, args []string) error {
		cfg := defaults()
		if err := config.Load(*path, &cfg); err != nil {
			return err
		}
		st, err := store.Open(ctx, cfg.Store.Dir, logging.New(std.Err, slog.LevelWarn))
		if err != nil {
			return err
		}
		return errors.Join(act(ctx, std, cfg, st, args), st.Close())
	}
}

func userAdd() program.Command {
	return program.Command{Name: "user add", Args: "NAME", About: "add a person; the password comes from standard input", Setup: func(flags *flag.FlagSet) program.Action {
		role := flags.String("role", "officer", "`ROLE`: admin, officer, editor, approver, technician or auditor")
		place := flags.String("zone", "", "the `ZONE` where the person acts, with all beneath it; empty: everywhere")
		return withStore(flags, func(ctx context.Context, std program.IO, _ Config, st *store.Store, args []string) error {
			z, err := zone.Parse(*place)
			if err != nil {
				return program.Usagef("--zone: %v", err)
			}
			if err := checkRole(*role); err != nil {
				return err
			}
			password, err := readPassword(std)
			if err != nil {
				return fmt.Errorf("read password: %w", err)
			}
			a, err := accounts.New(accounts.Options{Records: st, Now: time.Now})
			if err != nil {
				return err
			}
			p, err := a.AddUser(ctx, accounts.Person{Name: args[0], Password: password, Role: accounts.Role(*role), Zone: z})
			if err != nil {
				return fmt.Errorf("add user %s: %w", args[0], err)
			}
			_, err = fmt.Fprintln(std.Out, p.ID)
			return err
		})
	}}
}

// checkRole returns what is wrong with a role on the command line.
func checkRole(role string) error {
	if accounts.Role(role).Valid() {
		return nil
	}
	var names []string
	for _, r := range accounts.Roles() {
		names = append(names, string(r))
	}
	return program.Usagef("--role %q: want one of %s", role, strings.Join(names, ", "))
}

// readPassword reads one line; on a terminal it asks for it and shows nothing of what is typed.
func readPassword(std program.IO) (string, error) {
	if f, ok := std.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(std.Err, "Mật khẩu (password): ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(std.Err)
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(std.In, 4096)).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

func zoneImport() program.Command {
	return program.Command{Name: "zone import", Args: "FILE", About: "add or rename zones from a CSV file: code, name", Setup: func(flags *flag.FlagSet) program.Action {
		return withStore(flags, func(ctx context.Context, std program.IO, _ Config, st *store.Store, args []string) error {
			list, err := readZones(args[0])
			if err != nil {
				return err
			}
			added, renamed, err := st.UpsertZones(ctx, list, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(std.Out, "%d zones added, %d renamed\n", added, renamed)
			return err
		})
	}}
}

// readZones reads a CSV file whose columns are code and name; a first line "code,name" is skipped, and the mark that
// spreadsheets put before UTF-8 too.
func readZones(path string) ([]store.Zone, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = in.Discard(3) // is there
	}
	r := csv.NewReader(in)
	r.FieldsPerRecord = 2
	r.TrimLeadingSpace = true
	var list []store.Zone
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		code := strings.TrimSpace(row[0])
		if first && strings.EqualFold(code, "code") {
			continue
		}
		z, err := zone.Parse(code)
		if err != nil {
			line, _ := r.FieldPos(0)
			return nil, fmt.Errorf("read %s, line %d: %w", path, line, err)
		}
		list = append(list, store.Zone{Code: z, Name: strings.TrimSpace(row[1]), Parent: z.Parent()})
	}
}

func tokenAdd() program.Command {
	return program.Command{Name: "token add", About: "print a new token: to enrol one relay or client, or for a machine's API calls", Setup: func(flags *flag.FlagSet) program.Action {
		kind := flags.String("kind", "", "`KIND`: relay, client or api")
		name := flags.String("name", "", "`NAME` of the node or machine; of a machine: \"api\" if it has none")
		place := flags.String("zone", "", "its `ZONE`")
		role := flags.String("role", "", "`ROLE` of an API token")
		ttl := flags.Duration("ttl", 24*time.Hour, "how long it can be used; 0: an API token without end")
		return withStore(flags, func(ctx context.Context, std program.IO, cfg Config, st *store.Store, _ []string) error {
			z, err := zone.Parse(*place)
			switch {
			case !slices.Contains([]string{"relay", "client", "api"}, *kind):
				return program.Usagef("--kind %q: want relay, client or api", *kind)
			case err != nil:
				return program.Usagef("--zone: %v", err)
			case strings.TrimSpace(*name) == "" && *kind != "api":
				return program.Usagef("--name is missing: what people will call the %s", *kind)
			case *ttl < 0:
				return program.Usagef("--ttl %v: want a time to come", *ttl)
			}
			var text string
			if *kind == "api" {
				if err := checkRole(*role); err != nil {
					return err
				}
				if !flagSet(flags, "ttl") {
					*ttl = 0
				}
				text, err = addMachine(ctx, st, accounts.Machine{Name: cmp.Or(*name, "api"), Role: accounts.Role(*role), Zone: z, TTL: *ttl, By: by})
			} else {
				if *role != "" {
					return program.Usagef("--role %q: a %s has none, only an API token", *role, *kind)
				}
				text, err = addEnrolment(ctx, cfg, st, std, identity.Kind(*kind), *name, z, *ttl)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(std.Out, text)
			return err
		})
	}}
}

func flagSet(flags *flag.FlagSet, name string) (set bool) {
	flags.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func addMachine(ctx context.Context, st *store.Store, m accounts.Machine) (string, error) {
	a, err := accounts.New(accounts.Options{Records: st, Now: time.Now})
	if err != nil {
		return "", err
	}
	secret, _, err := a.AddMachine(ctx, m)
	if errors.Is(err, accounts.ErrZone) {
		err = fmt.Errorf("add token %q: %w %q", m.Name, err, m.Zone)
	}
	return secret, err
}

// addEnrolment makes a one-time token that pins this streamer's root.
func addEnrolment(ctx context.Context, cfg Config, st *store.Store, std program.IO, kind identity.Kind, name string, z zone.Zone, ttl time.Duration) (string, error) {
	if ttl == 0 {
		return "", program.Usagef("--ttl 0: an enrolment token must end")
	}
	i, err := openIssuer(ctx, cfg, st, logging.New(std.Err, slog.LevelWarn))
	if err != nil {
		return "", err
	}
	text, _, err := i.AddToken(ctx, kind, name, z, ttl, by)
	return text, err
}

func tokenList() program.Command {
	return program.Command{Name: "token list", About: "list the tokens; their secrets are stored nowhere", Setup: func(flags *flag.FlagSet) program.Action {
		return withStore(flags, func(ctx context.Context, std program.IO, _ Config, st *store.Store, _ []string) error {
			list, err := st.Tokens(ctx)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tKIND\tNAME\tZONE\tROLE\tEXPIRES\tSTATE")
			for _, t := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Kind, t.Name, t.Zone, t.Role, day(t.Expires), tokenState(t, time.Now()))
			}
			return w.Flush()
		})
	}}
}

func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateTime)
}

func tokenState(t store.Token, now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Used.IsZero():
		return "used by " + t.UsedBy
	case !t.Expires.IsZero() && now.After(t.Expires):
		return "expired"
	}
	return "good"
}

func tokenRevoke() program.Command {
	return program.Command{Name: "token revoke", Args: "ID", About: "make a token useless", Setup: func(flags *flag.FlagSet) program.Action {
		return withStore(flags, func(ctx context.Context, _ program.IO, _ Config, st *store.Store, args []string) error {
			return st.RevokeToken(ctx, args[0], time.Now())
		})
	}}
}
