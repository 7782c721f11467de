package health

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns a registry that holds what every program shows: dongthanh_build_info, the Go
// runtime's metrics and the process's. program is its name, version what it prints as its version.
func NewRegistry(program, version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "dongthanh_build_info",
		Help:        "Always 1; the labels tell which program this is.",
		ConstLabels: prometheus.Labels{"program": program, "version": version, "go": runtime.Version()},
	})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}
