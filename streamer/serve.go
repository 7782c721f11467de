package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"dongthanh/internal/clock"
	"dongthanh/internal/cluster"
	"dongthanh/internal/control"
	"dongthanh/internal/health"
	"dongthanh/internal/logging"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/program"
	"dongthanh/internal/signed"
	"dongthanh/streamer/internal/accounts"
	"dongthanh/streamer/internal/api"
	"dongthanh/streamer/internal/console"
	"dongthanh/streamer/internal/ingest"
	"dongthanh/streamer/internal/issuer"
	"dongthanh/streamer/internal/library"
	"dongthanh/streamer/internal/membership"
	"dongthanh/streamer/internal/nodes"
	"dongthanh/streamer/internal/radio"
	"dongthanh/streamer/internal/recording"
	"dongthanh/streamer/internal/session"
	"dongthanh/streamer/internal/speech"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/web"
	"dongthanh/streamer/internal/webcert"
)

// stopTail is how long the fan-out outlives the sessions when the streamer ends: a stop is repeated for one second.
const stopTail = 1100 * time.Millisecond

// hangs is how long a loop may not come to its turn before the streamer counts as hung, so that a watchdog starts it anew:
// far longer than a busy machine needs.
const hangs = 10 * time.Second

// streamer holds the parts of a running streamer.
type streamer struct {
	cfg   Config
	log   *slog.Logger
	reg   *prometheus.Registry
	admin *health.Server

	store    *store.Store
	time     clock.Root
	issuer   *issuer.Issuer
	accounts *accounts.Accounts
	library  *library.Library
	recorder *recording.Recorder
	redis    *membership.Redis
	picture  *nodes.Picture
	hub      *cluster.Hub
	mics     *ingest.Microphones
	lines    *ingest.Lines
	sessions *session.Manager
	certs    *webcert.Keeper
	web      *web.Server
}

// serve runs the streamer until ctx ends.
func serve(ctx context.Context, std program.IO, cfg Config) error {
	log := logging.New(std.Err, slog.LevelInfo)
	reg := health.NewRegistry("streamer", program.Version())
	s := &streamer{cfg: cfg, log: log, reg: reg, admin: health.New(cfg.Admin, log, reg)}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

// open builds the parts in the order in which they need each other and binds every port.
func (s *streamer) open(ctx context.Context) (err error) {
	if err := s.admin.Listen(); err != nil {
		return err
	}
	if s.store, err = store.Open(ctx, s.cfg.Store.Dir, s.log); err != nil {
		return err
	}
	s.admin.AddCheck("database", s.store.Check)
	if s.issuer, err = openIssuer(ctx, s.cfg, s.store, s.log); err != nil {
		return err
	}
	if s.accounts, err = accounts.New(accounts.Options{Records: s.store, Now: time.Now, Log: s.log, Metrics: s.reg}); err != nil {
		return err
	}
	if s.library, err = library.Open(s.cfg.Store.Dir, s.store, s.log); err != nil {
		return err
	}
	if s.recorder, err = recording.Open(ctx, recording.Options{
		Dir: s.cfg.Store.Dir, Config: s.cfg.Recordings, Records: s.store, Log: s.log, Metrics: s.reg,
	}); err != nil {
		return err
	}
	if s.redis, err = membership.Open(s.cfg.Redis); err != nil {
		return err
	}
	if s.lines, err = ingest.NewLines(s.cfg.Line, s.log, s.reg); err != nil {
		return err
	}
	if err := s.openNodes(ctx); err != nil {
		return err
	}
	if s.mics, err = ingest.NewMicrophones(s.cfg.WebRTC, s.log, s.reg); err != nil {
		return fmt.Errorf("webrtc.listen: %w", err)
	}
	return s.openWeb(ctx)
}

// openWeb opens the port that people and machines use.
func (s *streamer) openWeb(ctx context.Context) (err error) {
	s.certs, err = webcert.Open(webcert.Options{
		Config: s.cfg.HTTP.TLS, Dir: s.cfg.Store.https(), Now: time.Now, Log: s.log, Metrics: s.reg,
	})
	if err != nil {
		return err
	}
	s.admin.AddNote("https", s.certs.Note)
	handler, plain := s.routes()
	s.web, err = web.New(ctx, web.Options{
		Config: s.cfg.HTTP, Certificates: s.certs, Handler: handler, Plain: plain, Log: s.log, Metrics: s.reg,
	})
	if err != nil {
		return err
	}
	return s.web.Listen()
}

// openNodes builds the fan-out, the picture of the nodes and the sessions: each needs another one of them.
func (s *streamer) openNodes(ctx context.Context) (err error) {
	root, err := openTime(ctx, s.store, time.Now(), s.log)
	if err != nil {
		return err
	}
	s.time = root
	s.picture, err = nodes.New(ctx, nodes.Options{
		Enrolled:  s.store.Nodes,
		SetVolume: s.store.SetVolume,
		NoteSeen:  s.store.NoteSeen,
		Enroller:  s.issuer,
		Deliver:   func(k control.Keys) bool { return s.hub.Deliver(k) },
		Certify:   func(c control.Certificate) bool { return s.hub.Certify(c) },
		Order:     func(o control.Order) bool { return s.hub.Order(o) },
		Now:       root.Now,
		Log:       s.log,
	})
	if err != nil {
		return err
	}
	id := s.issuer.Credentials().Node.ID
	s.hub, err = cluster.New(cluster.Options{
		Config:      s.cfg.Nodes,
		Credentials: s.issuer.Credentials(),
		Path:        func() []string { return []string{id} },
		Clock:       func() (mediaclock.Instant, uint32, bool) { return root.Now(), 0, true },
		Up:          s.picture,
		Revoked:     s.issuer.Revoked,
		Beat:        s.admin.AddPulse("the fan-out", hangs).Beat,
		Log:         s.log,
		Registerer:  s.reg,
		Prefix:      "dongthanh_streamer_",
	})
	if err != nil {
		return err
	}
	if err := s.hub.Bind(ctx); err != nil {
		return err
	}
	s.sessions, err = session.NewManager(ctx, session.Options{
		Config: s.cfg.Sessions, Records: s.store, Issuer: s.issuer, Sink: s.hub, Audience: s.picture,
		Library: s.library, Lines: s.lines, Speaker: speech.New(s.log), Radio: radio.New(s.cfg.Sources, s.log), Recorder: s.recorder, Now: root.Now, Log: s.log,
	})
	if err != nil {
		return err
	}
	return s.reg.Register(session.NewCollector(s.sessions))
}

// routes puts API, console and health on the one port that people and machines use, and on plain http of other machines
// what is fit for it.
func (s *streamer) routes() (handler, plain http.Handler) {
	pages := console.New(console.Options{
		Accounts: s.accounts, Store: s.store, Trust: s.certs, Recorder: s.recorder, Nodes: s.picture, Version: program.Version(), Log: s.log,
	})
	secure, open := http.NewServeMux(), http.NewServeMux()
	secure.Handle("/api/v1/", api.New(api.Options{
		Accounts: s.accounts, Sessions: s.sessions, Nodes: s.picture, Registry: registry{s}, Store: s.store, Library: s.library,
		Recordings: s.recorder, Microphones: s.mics, ICEServers: s.cfg.WebRTC.Links(), Log: s.log,
	}))
	secure.Handle("/", pages)
	open.Handle("/api/v1/", api.Plain())
	open.Handle("/", s.certs.Challenges(pages.Plain()))
	for _, path := range []string{"GET /healthz", "GET /readyz", "GET /metrics"} {
		secure.Handle(path, s.admin.Handler())
		open.Handle(path, s.admin.Handler())
	}
	return secure, open
}

// run runs every part until ctx ends or one fails. The sessions end first, with a signed stop; the fan-out last, so
// that the stop reaches the loudspeakers, and with it the copy in Redis.
func (s *streamer) run(ctx context.Context) error {
	hubCtx, endHub := context.WithCancel(context.WithoutCancel(ctx))
	defer endHub()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.hub.Run(hubCtx) })
	group.Go(func() error { return s.admin.Run(ctx) })
	group.Go(func() error { return s.beat(ctx, s.admin.AddPulse("the sessions", hangs)) })
	group.Go(func() error { return health.NewNotifier(os.Getenv, os.Getpid(), s.admin.Alive, s.log).Run(ctx) })
	group.Go(func() error { return noteTime(ctx, s.store, s.time, s.log) })
	group.Go(func() error { return s.issuer.Run(ctx) })
	group.Go(func() error { return s.picture.Run(ctx) })
	group.Go(func() error { return s.recorder.Run(ctx) })
	group.Go(func() error { return s.followRecords(ctx) })
	group.Go(func() error { return membership.NewMirror(s.redis, s.picture, s.log).Run(hubCtx) }) // it shows their end
	group.Go(func() error { return s.certs.Run(ctx) })
	group.Go(func() error { return s.web.Run(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		onAir := len(s.sessions.OnAir())
		s.sessions.Close()
		if onAir > 0 {
			time.Sleep(stopTail)
		}
		endHub()
		return nil
	})
	s.log.Info("streamer is up", "console", s.web.URL(), "version", program.Version(), "redis", s.redis.Address())
	return group.Wait()
}

// beat asks the sessions and the picture of the nodes something every second: where either holds its lock for good, the
// pulse ends.
func (s *streamer) beat(ctx context.Context, pulse *health.Pulse) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.sessions.OnAir()
		s.picture.Changed()
		pulse.Beat()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// close lets go of what open got, in reverse order.
func (s *streamer) close() {
	if s.mics != nil {
		s.report("close microphones", s.mics.Close())
	}
	if s.lines != nil {
		s.report("close line-ins", s.lines.Close())
	}
	if s.library != nil {
		s.report("close library", s.library.Close())
	}
	if s.recorder != nil {
		s.report("close recordings", s.recorder.Close())
	}
	if s.redis != nil {
		s.report("close redis", s.redis.Close())
	}
	if s.store != nil {
		s.report("close store", s.store.Close())
	}
}

func (s *streamer) report(act string, err error) {
	if err != nil {
		s.log.Error(act, "error", err)
	}
}

// openIssuer opens the certificate authority in the store's directory.
func openIssuer(ctx context.Context, cfg Config, st *store.Store, log *slog.Logger) (*issuer.Issuer, error) {
	i, err := issuer.Open(ctx, issuer.Options{
		Dir: cfg.Store.keys(), Store: st, MaxClass: signed.ClassEmergency, Name: "streamer", Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("open issuer: %w", err)
	}
	return i, nil
}
