// Package membership shows in Redis who hears what, for whoever wants to watch from outside: docs/redis.md is its
// contract. It is the only user of Redis. Everything in there is a copy of the picture in package nodes: Redis may
// stall, die or lose all of it, no part of the sound waits for it, and the copy is whole again within seconds.
package membership

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"dongthanh/internal/config"
)

// Config is the streamer's redis section.
type Config struct {
	URL string `yaml:"url"` // redis://, rediss:// or empty: embedded
}

// Validate reports a URL that go-redis cannot use.
func (c Config) Validate() []config.Fault {
	if c.URL == "" {
		return nil
	}
	if _, err := redis.ParseURL(c.URL); err != nil {
		return []config.Fault{config.Faultf("url", "%v", err)}
	}
	return nil
}

// Prefix begins every key.
const Prefix = "dongthanh:"

// Times of the copy. A call that takes longer than callTime counts as failed; after a failure the whole copy is
// written again. Every refresh writes all of it, which also heals a Redis that lost its data without a broken
// connection; the set of a session is whole within 10 s of any loss.
const (
	callTime   = 500 * time.Millisecond
	refresh    = 3 * time.Second
	settle     = 50 * time.Millisecond // changes that come together are written together
	sessionTTL = 60 * time.Second
	memberTTL  = 10 * time.Second // who vanishes leaves every set within 10 s, even if the streamer vanished too
	endedTTL   = 24 * time.Hour
	nodeTTL    = 60 * time.Second
	lockTTL    = 10 * time.Second
)

// Redis is a connection to the Redis of the configuration, or to one in this process.
type Redis struct {
	client   *redis.Client
	embedded *miniredis.Miniredis // nil: a real one
}

// Open connects lazily: a Redis that is down is no reason not to start.
func Open(c Config) (*Redis, error) {
	if c.URL == "" {
		return openEmbedded()
	}
	o, err := redis.ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	return &Redis{client: redis.NewClient(tune(o))}, nil
}

func openEmbedded() (*Redis, error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return nil, fmt.Errorf("start embedded redis: %w", err)
	}
	m.ClockTTL(true) // without it nothing ever expires
	return &Redis{embedded: m, client: redis.NewClient(tune(&redis.Options{Addr: m.Addr()}))}, nil
}

// tune makes calls short, so that a Redis that hangs is found out and left alone.
func tune(o *redis.Options) *redis.Options {
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = callTime, callTime, callTime
	o.MaxRetries = -1
	o.PoolSize = 4
	return o
}

// Ping reports whether Redis answers.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	return nil
}

// Address is where the Redis is, without its password, for logs.
func (r *Redis) Address() string {
	if r.embedded != nil {
		return "embedded"
	}
	u := url.URL{Scheme: "redis", Host: r.client.Options().Addr}
	return u.String()
}

// Close ends the connection, and the Redis in this process if there is one.
func (r *Redis) Close() error {
	err := r.client.Close()
	if r.embedded != nil {
		r.embedded.Close()
	}
	return err
}

// Mirror keeps the copy.
type Mirror struct {
	redis   *Redis
	picture Picture
	log     *slog.Logger
	written copied // what Redis holds as far as we know
	down    bool   // the last write failed
}

// NewMirror makes a mirror of picture in r.
func NewMirror(r *Redis, picture Picture, log *slog.Logger) *Mirror {
	return &Mirror{redis: r, picture: picture, log: log}
}

// Run keeps the copy until ctx ends, and writes a last time what has ended by then: let it end after the sessions.
func (m *Mirror) Run(ctx context.Context) error {
	defer func() { m.report(m.write(context.WithoutCancel(ctx), time.Now(), false)) }()
	var next time.Time // of the whole copy
	for {
		changed := m.picture.Changed()
		now := time.Now()
		whole := m.down || !now.Before(next)
		if whole {
			next = now.Add(refresh)
		}
		m.report(m.write(ctx, now, whole))
		wait := time.NewTimer(time.Until(next))
		if m.down {
			wait.Reset(time.Second)
			changed = nil // each try writes all there is
		}
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-changed:
			wait.Reset(settle)
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return nil
			}
		case <-wait.C:
		}
		wait.Stop()
	}
}

// report logs the moment at which Redis goes and the one at which it is back, nothing between.
func (m *Mirror) report(err error) {
	switch {
	case err != nil && !m.down:
		m.log.Warn("redis is gone; sound goes on, its copy of the members stands still", "redis", m.redis.Address(), "error", err)
	case err == nil && m.down:
		m.log.Info("redis is back; its copy is whole again", "redis", m.redis.Address())
	}
	m.down = err != nil
}
