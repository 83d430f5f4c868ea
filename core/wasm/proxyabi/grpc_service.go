package proxyabi

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirproxy/weir/core/exchange"
)

// service is where a gRPC call goes.
type service struct {
	name      []byte // of the upstream
	authority []byte // empty: the endpoint's own name
	timeout   time.Duration
	metadata  []exchange.Field
}

// service reads what a guest names its service by: the name of an upstream, or a message of the type
// envoy.config.core.v3.GrpcService. A name is a name, even if it could be read as a message. What it gives are views.
func (r *root) service(b []byte) (s service, ok bool) {
	if len(b) > maxName {
		return s, false
	}
	if slices.Contains(r.plugin.o.Calls, string(b)) {
		return service{name: b}, true
	}
	if s, ok = parseService(b); ok && len(s.name) > 0 {
		return s, true
	}
	return service{name: b}, len(b) > 0
}

// Numbers of the fields that are read (envoy/config/core/v3/grpc_service.proto, base.proto; google/protobuf/duration.proto).
const (
	serviceEnvoy, serviceTimeout, serviceMetadata = 1, 3, 5
	envoyCluster, envoyAuthority                  = 1, 2
	headerKey, headerValue, headerRaw             = 1, 2, 3
	durationSeconds, durationNanos                = 1, 2
)

func parseService(b []byte) (s service, ok bool) {
	ok = eachField(b, func(n protowire.Number, v []byte, _ uint64) bool {
		switch n {
		case serviceEnvoy:
			return eachField(v, func(n protowire.Number, v []byte, _ uint64) bool {
				switch n {
				case envoyCluster:
					s.name = v
				case envoyAuthority:
					s.authority = v
				}
				return true
			})
		case serviceTimeout:
			return eachField(v, func(n protowire.Number, _ []byte, u uint64) bool {
				switch n {
				case durationSeconds:
					s.timeout += time.Duration(min(u, maxSeconds)) * time.Second
				case durationNanos:
					s.timeout += time.Duration(min(u, uint64(time.Second)))
				}
				return true
			})
		case serviceMetadata:
			f := exchange.Field{}
			s.metadata = append(s.metadata, f)
			return len(s.metadata) <= maxPairs && parseHeader(v, &s.metadata[len(s.metadata)-1])
		}
		return true
	})
	return s, ok
}

// maxSeconds is the longest timeout that is told apart from longer ones.
const maxSeconds = 365 * 24 * 3600

func parseHeader(b []byte, f *exchange.Field) bool {
	return eachField(b, func(n protowire.Number, v []byte, _ uint64) bool {
		switch n {
		case headerKey:
			f.Name = v
		case headerValue, headerRaw:
			if len(v) > 0 {
				f.Value = v
			}
		}
		return true
	})
}

// eachField calls f for the fields of a message: bytes of those that have any, the number of others. It reports whether all of
// it could be read and f was content.
func eachField(b []byte, f func(n protowire.Number, bytes []byte, number uint64) bool) bool {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return false
		}
		b = b[size:]
		var v []byte
		var u uint64
		switch t {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			u, size = protowire.ConsumeVarint(b)
		default:
			size = protowire.ConsumeFieldValue(n, t, b)
		}
		if size < 0 || !f(n, v, u) {
			return false
		}
		b = b[size:]
	}
	return true
}
