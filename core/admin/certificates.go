package admin

import (
	"net/http"
	"time"
)

// certificateView is one certificate of the server's side.
type certificateView struct {
	Names    []string   `json:"names"`
	NotAfter *time.Time `json:"not_after"` // null while there is none
	File     string     `json:"file"`
	Source   string     `json:"source"` // file or acme
	Domain   string     `json:"domain,omitempty"`
	Error    string     `json:"error,omitempty"`
}

func (s *Server) certificates(w http.ResponseWriter, _ *http.Request) {
	all := []certificateView{}
	for _, c := range s.o.Plan().Shared.Certs.List() {
		v := certificateView{Names: c.Names, File: c.File, Source: c.Source, Domain: c.Domain, Error: c.Error}
		if v.Names == nil {
			v.Names = []string{}
		}
		if !c.NotAfter.IsZero() {
			v.NotAfter = &c.NotAfter
		}
		all = append(all, v)
	}
	writeJSON(w, http.StatusOK, all)
}
