package admin

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/weirproxy/weir/core/filter"
)

// filters shows the WebAssembly filters that are loaded, those of plans that are closing included.
func (s *Server) filters(w http.ResponseWriter, _ *http.Request) {
	all := []filter.Status{}
	if s.o.Filters != nil {
		all = append(all, s.o.Filters()...)
	}
	for i := range all {
		f := &all[i]
		if f.Routes = slices.Sorted(slices.Values(f.Routes)); f.Routes == nil {
			f.Routes = []string{}
		}
		if f.Phases == nil {
			f.Phases = []filter.Phase{}
		}
		if f.Failures == nil {
			f.Failures = map[string]int64{}
		}
	}
	slices.SortStableFunc(all, func(a, b filter.Status) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256), cmp.Compare(a.Config, b.Config))
	})
	writeJSON(w, http.StatusOK, all)
}
